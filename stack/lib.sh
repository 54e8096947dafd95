# Paths and helpers shared by `box` and `ctl`. Sourced by bash on the host, never run.
# shellcheck shell=bash

STACK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
CHECKOUT=$(dirname "$STACK")
# Everything is mounted in the box at the path it has on the host, so a path in a log is true on both sides.
CLINIC_CACHE=$(realpath -m "${CLINIC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/clinic}")
CLINIC_STATE=$(realpath -m "${CLINIC_STATE:-$CHECKOUT/.state}")
CLINIC_DOMAIN=${CLINIC_DOMAIN:-clinica.localhost}
PUBLIC_NAMES="odoo airflow auth rabbitmq farmacia"

fingerprint() { # fingerprint FILE... -> 12 hexadecimal digits that change when any of them does
    cat -- "$@" | sha256sum | cut -c1-12
}

ROOT=$CLINIC_CACHE/root-$(fingerprint "$STACK/debian.packages" "$STACK/root.sh")
VENV=$CLINIC_CACHE/venv-$(fingerprint "$CHECKOUT/requirements-dev.txt")
BOX_LOCK=$CLINIC_STATE/run/box.lock

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

box_is_running() { # whether anything of the long-lived box is alive: all of it inherits the lock
    [ -e "$BOX_LOCK" ] && ! flock --nonblock "$BOX_LOCK" true
}

is_state() { # whether `up` made that folder; before it writes `ports` there, nothing but its lock is in it
    local other
    [ ! -e "$CLINIC_STATE/ports" ] || return 0
    other=$(find "$CLINIC_STATE" -mindepth 1 ! -path "$CLINIC_STATE/run" ! -path "$CLINIC_STATE/run/command.lock" -print -quit)
    [ -z "$other" ]
}

hosts_file() {
    printf '127.0.0.1 localhost clinic\n::1 ip6-localhost\n127.0.0.1 %s' "$CLINIC_DOMAIN"
    for name in $PUBLIC_NAMES; do printf ' %s.%s' "$name" "$CLINIC_DOMAIN"; done
    printf '\n'
}

host_ca_bundle() { # the certificates this machine trusts; a company's proxy is among them
    local file
    for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        if [ -s "$file" ]; then
            realpath "$file"
            return
        fi
    done
}

npm_global_settings() { # the machine's npm settings, wherever its npm was installed to; the last one counts
    local file
    for file in /etc/npmrc /usr/local/etc/npmrc /usr/etc/npmrc "${npm_config_globalconfig:-${NPM_CONFIG_GLOBALCONFIG:-}}"; do
        [ -z "$file" ] || [ ! -r "$file" ] || { cat -- "$file" && echo; }
    done
}

box_arguments() { # opens box_fd, from which `bwrap --args` reads what makes the box
    # Not on its command line: that can be read by every user of the machine, and registry tokens are among them.
    local BOX directory file name target ca
    # `/` is a tmpfs, so that any host path can be a mount point; the tree itself is never written to. /proc is the
    # caller's own, so that tests see the servers' processes and can start a box in their box.
    BOX=(--unshare-user --uid 1000 --gid 1000 --unshare-ipc --unshare-uts --hostname clinic --die-with-parent
        --ro-bind "$ROOT/usr" /usr --ro-bind "$ROOT/etc" /etc --dir /var/tmp
        --ro-bind "$ROOT/var/lib/dpkg" /var/lib/dpkg --ro-bind-try "$ROOT/var/cache/fontconfig" /var/cache/fontconfig
        --dev /dev --bind /proc /proc --ro-bind-try /sys /sys --tmpfs /tmp --tmpfs /run)
    for directory in bin sbin lib lib64; do
        [ ! -L "$ROOT/$directory" ] || BOX+=(--symlink "$(readlink "$ROOT/$directory")" "/$directory")
    done
    mkdir -p "$CLINIC_CACHE/home" "$CLINIC_STATE"
    BOX+=(--bind "$CHECKOUT" "$CHECKOUT" --bind "$CLINIC_CACHE" "$CLINIC_CACHE" --bind "$CLINIC_STATE" "$CLINIC_STATE")
    # A worktree keeps its history in another folder.
    directory=$(git -C "$CHECKOUT" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || true)
    case $directory in "" | "$CHECKOUT"/*) ;; *) BOX+=(--bind "$directory" "$directory") ;; esac

    exec {hosts_fd}< <(hosts_file)
    BOX+=(--ro-bind-data "$hosts_fd" /etc/hosts)
    [ ! -e /etc/resolv.conf ] || BOX+=(--ro-bind "$(realpath /etc/resolv.conf)" /etc/resolv.conf)

    BOX+=(--clearenv --setenv HOME "$CLINIC_CACHE/home" --setenv USER clinic --setenv LOGNAME clinic
        --setenv LANG C.UTF-8 --setenv TZ UTC --setenv PYTHONUTF8 1
        --setenv PYTHONPATH "$CHECKOUT/include:$CHECKOUT/plugins:$CHECKOUT/providers/rabbitmq/src:$CHECKOUT/services:$STACK"
        --setenv PATH "$STACK/bin:$VENV/bin:/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/usr/sbin"
        --setenv CLINIC_CHECKOUT "$CHECKOUT" --setenv CLINIC_CACHE "$CLINIC_CACHE" --setenv CLINIC_STATE "$CLINIC_STATE"
        --setenv CLINIC_DOMAIN "$CLINIC_DOMAIN" --setenv CLINIC_ROOT "$ROOT" --setenv CLINIC_VENV "$VENV")
    ca=$(host_ca_bundle)
    [ -z "$ca" ] || BOX+=(--ro-bind "$ca" /etc/ssl/certs/ca-certificates.crt)
    for name in SSL_CERT_FILE PIP_CERT REQUESTS_CA_BUNDLE; do
        BOX+=(--setenv "$name" /etc/ssl/certs/ca-certificates.crt)
    done

    # How this machine reaches its package registries. Nothing of it is written down in the repository.
    for name in $(compgen -e); do
        case $name in
            PIP_CERT | UV_CACHE_DIR | UV_PYTHON* | UV_PROJECT* ) ;;
            npm_config_cache | npm_config_prefix | npm_config_userconfig | npm_config_globalconfig | \
                NPM_CONFIG_CACHE | NPM_CONFIG_PREFIX | NPM_CONFIG_USERCONFIG | NPM_CONFIG_GLOBALCONFIG) ;;
            PIP_* | UV_* | npm_config_* | NPM_CONFIG_* | HTTP_PROXY | HTTPS_PROXY | ALL_PROXY | NO_PROXY | http_proxy | https_proxy | all_proxy | no_proxy | \
                TERM | COLUMNS | NO_COLOR | FORCE_COLOR | CI | PYTEST_ADDOPTS | \
                CLINIC_PORTS | CLINIC_SERVICES | CLINIC_UP_TIMEOUT | CLINIC_DEBIAN_MIRROR)
                BOX+=(--setenv "$name" "${!name}")
                ;;
        esac
    done
    for name in ${CLINIC_BOX_PASS:-}; do
        [ -z "${!name+set}" ] || BOX+=(--setenv "$name" "${!name}")
    done
    for file in ${PIP_FIND_LINKS:-} ${UV_FIND_LINKS:-} ${PIP_CONFIG_FILE:-} ${UV_CONFIG_FILE:-}; do
        [[ $file != /* ]] || [ ! -e "$file" ] || BOX+=(--ro-bind "$file" "$file")
    done
    for name in .config/pip .pip .config/uv .netrc .m2/settings.xml .m2/settings-security.xml; do
        [ ! -e "$HOME/$name" ] || BOX+=(--ro-bind "$(realpath "$HOME/$name")" "$CLINIC_CACHE/home/$name")
    done
    # Files of the machine as a whole; the tree was built with an empty file at each of these places.
    for target in /etc/pip.conf /etc/maven/settings.xml; do
        [ ! -s "$target" ] || [ ! -e "$ROOT$target" ] || BOX+=(--ro-bind "$(realpath "$target")" "$target")
    done
    # npm looks for the machine's file beside its own programs, and those are the venv's here.
    exec {npm_fd}< <(npm_global_settings)
    BOX+=(--ro-bind-data "$npm_fd" /run/npmrc --setenv NPM_CONFIG_GLOBALCONFIG /run/npmrc
        --setenv NODE_EXTRA_CA_CERTS /etc/ssl/certs/ca-certificates.crt)
    file=${npm_config_userconfig:-${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}}
    [ ! -e "$file" ] || BOX+=(--ro-bind "$(realpath "$file")" "$CLINIC_CACHE/home/.npmrc")
    exec {box_fd}< <(printf '%s\0' "${BOX[@]}")
}
