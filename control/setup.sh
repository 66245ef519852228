# Sourced by control/run and tests/run: installs missing Debian packages, or says which.
# Everything here prints to standard error, so that --json output on standard output stays clean.

# ensure_packages PACKAGE...: installs by apt when root, else prints the command and fails.
ensure_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]} (Debian's names; this system has no apt-get, install their counterparts)" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages; install them and run this again:" >&2
        echo "    sudo apt-get install ${missing[*]}" >&2
        return 1
    fi
    echo "installing ${missing[*]}" >&2
    {
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
    } >&2 || {
        echo "apt-get could not install ${missing[*]}: see its message above" >&2
        return 1
    }
}

# ensure_cargo: finds cargo, also where rustup puts it.
ensure_cargo() {
    command -v cargo >/dev/null && return 0
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH" && return 0
    echo "cargo is missing: install Rust 1.95 or newer with rustup" >&2
    return 1
}

# What the build needs: a C compiler and linker (SQLite and the allocator are compiled from C).
BUILD_PACKAGES=(gcc libc6-dev)
