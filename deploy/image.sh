#!/bin/sh
# Builds the CPU image without a Docker daemon and runs the README's request against it.
#
# Needs root and Debian's packages buildah, debootstrap and curl. The base is a minimal Debian made from this
# machine's own package mirror; pip's settings (mirror, folders of wheels, certificates) are lent to the build
# and stay out of the image. With Docker at hand `docker build -t alpharay .` does the same.
#
#     deploy/image.sh [PORT]        # PORT for the trial, 18080 unless told otherwise
set -eu
cd "$(dirname "$0")/.."
port=${1:-18080}
work=build/image
store="--storage-driver vfs --root $PWD/$work/store --runroot $PWD/$work/run"
mkdir -p "$work"

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
if [ ! -e "$work/base.tar" ]; then
    rm -rf "$work/root"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/root" "$mirror"
    rm -rf "$work/root/var/cache/apt/archives/"*.deb
    tar --create --directory "$work/root" --file "$work/base.tar.part" .
    mv "$work/base.tar.part" "$work/base.tar"
    rm -rf "$work/root"
fi
base=$(buildah $store from scratch)
buildah $store add --quiet "$base" "$work/base.tar" / >/dev/null
buildah $store commit --quiet "$base" alpharay-base >/dev/null
buildah $store rm "$base" >/dev/null

# What pip is told on this machine holds within the build as well, and so does every folder that it names.
{ echo "[global]"; python3 -m pip config list | sed -n "s/^global\.\([a-z-]*\)='\(.*\)'$/\1 = \2/p"; } > "$work/pip.conf"
lent="--volume $PWD/$work/pip.conf:/etc/pip.conf:ro"
for path in /etc/ssl/certs $(grep -o "file://[^ ]*\|[ =]/[^ ]*" "$work/pip.conf" | sed "s#^file://##; s#^[ =]*##; s#/simple\$##"); do
    [ ! -d "$path" ] || lent="$lent --volume $path:$path:ro"
done
buildah $store bud --isolation chroot --build-arg BASE=localhost/alpharay-base $lent --tag alpharay .

box=$(buildah $store from --quiet localhost/alpharay)
trap 'buildah $store rm "$box" >/dev/null' EXIT
run="buildah $store run --isolation chroot --user alpharay $box --"
$run alpharay doctor || echo "note: doctor found something missing in this box"
$run alpharay serve --port "$port" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; buildah $store rm "$box" >/dev/null' EXIT
until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/ready"; do
    kill -0 "$server" || { echo "error: the server in the image ended" >&2; exit 1; }
    sleep 1
done
python3 - "$port" <<'PYTHON'
import json, re, sys, urllib.request
(body,) = re.findall(r"curl -s \S+ -H '[^']+' -d '(.+?)'\n```", open("README.md").read(), re.DOTALL)
request = urllib.request.Request(
    f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions", body.encode(), {"Content-Type": "application/json"}
)
answer = json.load(urllib.request.urlopen(request, timeout=300))
print(json.dumps(answer["alpharay"], indent=1))
sys.exit(answer["choices"][0]["alpharay"]["verdict"] != "accepted")
PYTHON
echo "the image alpharay is built, and answered the README's request"
