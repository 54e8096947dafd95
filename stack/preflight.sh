# Finds everything that would stop the set-up, before anything is changed. Sourced by `ctl`.
# Every finding is one sentence that says what is wrong and what to do; all of them are printed at once.
# shellcheck shell=bash

PORT_BLOCK=100      # a stack owns this many ports
FIRST_BLOCK=18200   # blocks are tried upward from here
LAST_PORT_USED=14   # offsets 0..14 are listened on; the rest is left to the tests

FINDINGS=()
finding() { FINDINGS+=("$*"); }

missing_tools() { # the Debian packages, one a line, whose command is not here
    local pair
    for pair in bwrap:bubblewrap mmdebstrap:mmdebstrap tar:tar flock:util-linux make:make git:git newuidmap:uidmap; do
        # Root maps no range of user ids, and a finished tree needs no builder.
        case $pair in
            newuidmap:*) [ "$(id -u)" != 0 ] && [ ! -d "$ROOT" ] || continue ;;
            mmdebstrap:*) [ ! -d "$ROOT" ] || continue ;;
        esac
        command -v "${pair%%:*}" >/dev/null || printf '%s\n' "${pair##*:}"
    done
}

install_tools() { # as root on a Debian the missing tools are fetched; otherwise the sentence names them
    local packages
    mapfile -t packages < <(missing_tools)
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ "${CLINIC_INSTALL_TOOLS:-yes}" = yes ]; then
        INSTALL=("${packages[@]}")
    else
        finding "Missing: ${packages[*]}. Install with: ${SUDO_HINT}apt-get install ${packages[*]}"
    fi
}

check_namespaces() {
    command -v bwrap >/dev/null || return 0 # already named as missing
    local answer
    if ! answer=$(bwrap --unshare-user --uid 1000 --gid 1000 --unshare-pid --ro-bind / / --proc /proc true 2>&1); then
        finding "This machine forbids user namespaces, which the private Debian runs in (${answer##*$'\n'})." \
            "Allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or" \
            "kernel.apparmor_restrict_unprivileged_userns, or the container's security profile), or use docker-compose.yaml instead."
    fi
}

check_subordinate_ids() { # an ordinary user builds the tree with a range of user ids of their own
    [ "$(id -u)" != 0 ] && [ ! -d "$ROOT" ] || return 0
    local file name
    name=$(id -un)
    for file in /etc/subuid /etc/subgid; do
        grep -q "^\($name\|$(id -u)\):" "$file" 2>/dev/null && continue
        finding "$name has no range of subordinate ids in $file." \
            "Add one with: ${SUDO_HINT}usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $name"
        return
    done
}

check_mirror() {
    [ ! -d "$ROOT" ] || return 0
    MIRROR=$(debian_mirror)
    [ -n "$MIRROR" ] || finding "No Debian archive is known on this machine." \
        "Set CLINIC_DEBIAN_MIRROR to the address of one, and install debian-archive-keyring."
}

existing_parent() { # the nearest folder that is there already
    local directory=$1
    until [ -d "$directory" ]; do directory=$(dirname "$directory"); done
    printf '%s\n' "$directory"
}

check_disk() { # gigabytes needed for what is not there yet, summed per file system
    local cache_mb=200 state_mb=200 cache state
    [ -d "$ROOT" ] || cache_mb=6000
    [ -d "$CLINIC_STATE/postgres" ] || state_mb=1000
    cache=$(existing_parent "$CLINIC_CACHE")
    state=$(existing_parent "$CLINIC_STATE")
    if [ "$(id -u)" != 0 ] && [ ! -d "$ROOT" ]; then
        require_space "${TMPDIR:-/var/tmp}" 3000 TMPDIR
    fi
    if [ "$(stat -c %d "$cache")" = "$(stat -c %d "$state")" ]; then
        require_space "$cache" $((cache_mb + state_mb)) "CLINIC_CACHE and CLINIC_STATE"
    else
        require_space "$cache" "$cache_mb" CLINIC_CACHE
        require_space "$state" "$state_mb" CLINIC_STATE
    fi
}

require_space() { # require_space FOLDER MEGABYTES VARIABLES
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 {print $4}')
    [ "$free" -ge "$2" ] || finding "Too little disk: $1 has $free MB free and $2 MB are needed." \
        "Make room, or point $3 at a larger disk."
}

check_writable() {
    local name directory
    # `make clean` removes the state folder, so it must never be one that holds other things.
    if [ -d "$CLINIC_STATE" ] && ! is_state; then
        finding "CLINIC_STATE is $CLINIC_STATE, a folder with other things in it. Name one that is empty or not there."
    fi
    for name in CLINIC_CACHE CLINIC_STATE; do
        directory=$(existing_parent "${!name}")
        [ -w "$directory" ] || finding "$name is ${!name}, where $(id -un) may not write."
        case ${!name}/ in
            /usr/* | /etc/* | /proc/* | /sys/* | /dev/*) finding "$name may not lie under /usr, /etc, /proc, /sys or /dev." ;;
        esac
    done
}

listening_ports() { # every TCP port that something listens on, IPv4 and IPv6
    awk '$4 == "0A" {n = split($2, part, ":"); print strtonum_hex(part[n])}
         function strtonum_hex(text,   i, value) {
             for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789ABCDEF", substr(text, i, 1)) - 1
             return value
         }' /proc/net/tcp /proc/net/tcp6 2>/dev/null | sort -un
}

port_holder() { # port_holder PORT -> " by NAME (process ID)", or nothing when another user's process has it
    local inode pid
    inode=$(awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && $2 ~ port "$" {print $10; exit}' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    [ -n "$inode" ] || return 0
    # One process that looks at every descriptor; a `readlink` for each would take minutes on a busy machine.
    pid=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "socket:\[$inode\]" -printf '%H\n' -quit 2>/dev/null | cut -d/ -f3) || true
    [ -z "$pid" ] || printf ' by %s (process %s)' "$(cat "/proc/$pid/comm")" "$pid"
}

taken_ports() { # taken_ports FIRST -> the ports of the block that something else listens on
    local first=$1
    listening_ports | awk -v low="$first" -v high="$((first + LAST_PORT_USED))" '$1 >= low && $1 <= high'
}

remembered_block() { [ ! -s "$CLINIC_STATE/ports" ] || cat "$CLINIC_STATE/ports"; }

check_ports() { # a stack that runs owns its ports; a new one looks for a free block when it is made
    ! box_is_running || return 0
    local first port
    first=${CLINIC_PORTS:-$(remembered_block)}
    [ -n "$first" ] || return 0
    if ! [[ $first =~ ^[0-9]+$ ]] || [ "$first" -lt 1024 ] || [ "$first" -gt $((65535 - PORT_BLOCK)) ]; then
        finding "CLINIC_PORTS is '$first'; it must be the first of $PORT_BLOCK free ports, between 1024 and $((65535 - PORT_BLOCK))."
        return
    fi
    local taken=()
    for port in $(taken_ports "$first"); do
        taken+=("$port$(port_holder "$port")")
    done
    [ ${#taken[@]} = 0 ] || finding "Taken ports: $(printf '%s, ' "${taken[@]}" | sed 's/, $//')." \
        "End what holds them, or choose another block: CLINIC_PORTS=<first of $PORT_BLOCK free ports> make up"
}

reservation_holds() { # reservation_holds OWNER BLOCK : whether that state folder still counts on that block
    if [ -d "$(dirname "$1")" ]; then
        [ "$(cat "$1/ports" 2>/dev/null)" = "$2" ]
    else # not to be seen from here, as from a box: believe it for a day
        [ -n "$(find "$CLINIC_CACHE/ports/$2" -mtime -1)" ]
    fi
}

reserve_ports() { # choose this state's block of ports once, and tell every other checkout through the cache
    local first=${CLINIC_PORTS:-$(remembered_block)} owner block
    mkdir -p "$CLINIC_CACHE/ports" "$CLINIC_STATE"
    exec {ports_fd}>"$CLINIC_CACHE/ports/lock"
    flock "$ports_fd"
    if [ -z "$first" ]; then
        for ((block = FIRST_BLOCK; block <= 60000; block += PORT_BLOCK)); do
            owner=$(cat "$CLINIC_CACHE/ports/$block" 2>/dev/null || true)
            [ -z "$owner" ] || ! reservation_holds "$owner" "$block" || continue
            [ -z "$(taken_ports "$block")" ] || continue
            first=$block
            break
        done
        [ -n "$first" ] || die "No block of $PORT_BLOCK free ports was found from $FIRST_BLOCK upward."
    fi
    [ "$(remembered_block)" = "$first" ] || printf '%s\n' "$first" >"$CLINIC_STATE/ports"
    printf '%s\n' "$CLINIC_STATE" >"$CLINIC_CACHE/ports/$first"
    exec {ports_fd}>&-
    CLINIC_PORTS=$first
}

preflight() { # ends the program with every finding, or returns with nothing changed
    SUDO_HINT=
    [ "$(id -u)" = 0 ] || SUDO_HINT='sudo '
    INSTALL=()
    install_tools
    check_namespaces
    check_subordinate_ids
    check_mirror
    check_writable
    check_disk
    [ "${1:-}" != ports ] || check_ports
    if [ ${#FINDINGS[@]} -gt 0 ]; then
        printf 'Nothing was changed. Before this can run:\n' >&2
        printf '  - %s\n' "${FINDINGS[@]}" >&2
        exit 1
    fi
    if [ ${#INSTALL[@]} -gt 0 ]; then
        printf 'Installing %s with apt-get\n' "${INSTALL[*]}"
        local log=$CLINIC_CACHE/log/apt.log
        mkdir -p "$CLINIC_CACHE/log"
        { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "${INSTALL[@]}"; } >"$log" 2>&1 ||
            die "apt-get could not install ${INSTALL[*]}; its output is in $log"
        check_namespaces
        [ ${#FINDINGS[@]} = 0 ] || die "${FINDINGS[*]}"
    fi
}
