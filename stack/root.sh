# Builds the private Debian: build_root. Sourced by `ctl`; a change to this file makes a new tree.
# shellcheck shell=bash

debian_mirror() { # the address this machine's own apt takes Debian's packages from
    if [ -n "${CLINIC_DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$CLINIC_DEBIAN_MIRROR"
        return
    fi
    command -v apt-get >/dev/null || return 0
    # Before the first `apt-get update` apt knows no labels; an address without "security" in it is the archive then.
    { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian'
        grep -qi '^ID=debian' /etc/os-release 2>/dev/null &&
            apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security
    } 2>/dev/null | sed -n 1p || true
}

apt_options() { # the machine's own choices about proxies, certificates and release dates, one option a line
    command -v apt-config >/dev/null || return 0
    apt-config dump --format '%f "%v";%n' Acquire::http Acquire::https Acquire::Check-Valid-Until Acquire::Retries |
        grep -v ' "";$' || true
}

build_root() { # build_root TARGET LOG
    local target=$1 log=$2 new=$1.new mode=root option
    local include=() options=() wrapper=() printer=$1.printer printing
    mapfile -t include < <(grep -v '^#' "$STACK/debian.packages")
    while IFS= read -r option; do options+=(--aptopt="$option"); done < <(apt_options)
    if [ "$(id -u)" = 0 ]; then
        export TMPDIR=$CLINIC_CACHE/tmp
        # Should this be killed, the mounts that mmdebstrap makes in its work folder end with it.
        wrapper=(unshare --mount)
    else
        mode=unshare
        # A home folder is usually closed to the user ids that the build maps.
        export TMPDIR=${TMPDIR:-/var/tmp}
    fi
    rm -rf --one-file-system "$CLINIC_CACHE/tmp"
    mkdir -p "$CLINIC_CACHE/tmp"
    discard_tree "$new"
    discard_tree "$printer"
    mkdir -p "$new" "$printer"

    # At the same time, for it takes a tenth as long.
    unpack_printer "$printer" 2>>"$log" &
    printing=$!

    # The tree goes from mmdebstrap straight into its folder: no archive of 2 GB in between. Every file becomes
    # the caller's own, so one user id is enough to run it.
    printf 'deb %s trixie main\ndeb %s sid main\n' "$MIRROR" "$MIRROR" |
        "${wrapper[@]}" mmdebstrap --mode="$mode" --format=tar --variant=apt "${options[@]}" \
            --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
            --setup-hook='mkdir -p "$1/etc/apt/preferences.d"; printf "Package: *\nPin: release n=sid\nPin-Priority: 100\n" > "$1/etc/apt/preferences.d/sid"' \
            --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-exclude=*/i18n/*.po' --dpkgopt='path-include=*/i18n/es.po' \
            --include="$(IFS=,; printf '%s' "${include[*]}")" \
            trixie - - 2>>"$log" |
        tar --extract --no-same-owner --exclude='./dev/*' --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
            --directory "$new" 2>>"$log"

    wait "$printing" || return 1
    mv -T "$printer" "$new$PRINTER"
    printer_command >"$new/usr/bin/wkhtmltopdf"
    printer_letters >"$new$PRINTER/letters.css"
    chmod 755 "$new/usr/bin/wkhtmltopdf"

    chmod -R u+rwX "$new/etc" "$new/var"
    printf 'clinic:x:1000:1000:Clinic:/nonexistent:/bin/bash\n' >>"$new/etc/passwd"
    printf 'clinic:x:1000:\n' >>"$new/etc/group"
    # Places over which the host's own files are mounted.
    : >"$new/etc/hosts"
    : >"$new/etc/pip.conf"
    [ -e "$new/etc/resolv.conf" ] || : >"$new/etc/resolv.conf"
    # Debian took this file out of Odoo for its licence, and every page of the backend asks for it.
    # An empty script in its place keeps the browser's console clean.
    local selfie=$new/usr/lib/python3/dist-packages/odoo/addons/mail/static/lib/selfie_segmentation
    mkdir -p "$selfie"
    printf '/* Not shipped by Debian. */\n' >"$selfie/selfie_segmentation.js"
    mv -T "$new" "$target"
}

PRINTER=/usr/lib/wkhtmltopdf

unpack_printer() { # unpack_printer TARGET : wkhtmltopdf, which Debian has had no more since 12, with its own libraries
    # In a folder of its own, for they are not those of the tree. Called by build_root, with its options.
    # Left out: what draws on a screen (graphics cards, their compiler), documentation, translations, other programs.
    printf 'deb %s bookworm main\n' "$MIRROR" |
        "${wrapper[@]}" mmdebstrap --mode="$mode" --format=tar --variant=extract "${options[@]}" \
            --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
            --include=wkhtmltopdf bookworm - - |
        tar --extract --no-same-owner --directory "$1" --exclude='./bin/*' --exclude='./sbin/*' --exclude='./usr/sbin/*' \
            --exclude='./usr/bin/[!w]*' --exclude='./dev/*' --exclude='./etc/*' --exclude='./var/*' --exclude='./tmp' \
            --exclude='./usr/share/*' --exclude='*/libLLVM*' --exclude='*/libz3*' --exclude='*/dri/*' --exclude='*/gconv/*'
}

printer_command() { # the text of a program that runs it by its own loader
    cat <<EOF
#!/bin/sh
# Debian 12's wkhtmltopdf, with the libraries it was built for. It needs no screen.
for libraries in $PRINTER/usr/lib/*-linux-gnu*; do break; done
base=$PRINTER/lib/\${libraries##*/}
for loader in "\$base"/ld-linux-*.so.*; do break; done # not by lib64, whose link leads to this Debian's own
# Qt complains about each page where it has no folder of its user's own.
export XDG_RUNTIME_DIR="\${TMPDIR:-/tmp}/wkhtmltopdf-\$(id -u)"
mkdir -p -m 700 "\$XDG_RUNTIME_DIR"
export QT_QPA_PLATFORM=offscreen QT_PLUGIN_PATH="\$libraries/qt5/plugins"
exec "\$loader" --library-path "\$libraries:\$base:\$libraries/pulseaudio:\$libraries/blas:\$libraries/lapack" \
    $PRINTER/usr/bin/wkhtmltopdf --user-style-sheet $PRINTER/letters.css "\$@"
EOF
}

printer_letters() { # the style that it puts over every page's own
    cat <<'EOF'
/* Letters of a font that a page brings along are drawn as curves by this program: nothing to search, copy or read aloud.
   So they come from an installed font, of a name that no page brings. Icons stay as they are. */
*:not(.fa):not(.oi) { font-family: "DejaVu Sans", sans-serif !important; }
EOF
}

discard_tree() { # remove a half-built tree, also the folders that are closed to their owner
    [ -e "$1" ] || return 0
    chmod -R u+rwX "$1" 2>/dev/null || true
    rm -rf --one-file-system "$1"
}
