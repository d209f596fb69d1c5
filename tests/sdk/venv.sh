# venv DIR REQUIREMENTS: a virtual environment with these packages; made once.
venv() {
    local dir=$1 requirements=$2
    if [ ! -e "$dir/ready" ] || ! cmp -s "$dir/ready" "$requirements"; then
        rm -rf "$dir"
        # Debian's Python comes without the module.
        if ! python3 -m venv "$dir"; then
            apt-get update -q && apt-get install -q -y python3-venv
            rm -rf "$dir"
            python3 -m venv "$dir"
        fi
        "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
        cp "$requirements" "$dir/ready"
    fi
}
