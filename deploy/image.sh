#!/bin/sh
# Builds the CPU image without a Docker daemon and runs the README's request against it.
#
# Needs root and Debian's packages buildah, debootstrap and curl. The base is a minimal Debian made from this
# machine's own package mirror; pip's settings (mirror, folders of wheels, certificates) are lent to the build
# and stay out of the image. With Docker at hand `docker build -t alpharay .` does the same.
#
#     deploy/image.sh [PORT]        # PORT for the trial, 18080 unless told otherwise
#     LANGUAGES="nodejs golang-go" deploy/image.sh    # with these packages, for other languages of the judge
#
# Takes about 15 GB of build/image while it runs and leaves 4 GB there: `rm -r build/image` when you are done with it.
set -eu
cd "$(dirname "$0")/.."
port=${1:-18080}
work=build/image
store="--storage-driver vfs --root $PWD/$work/store --runroot $PWD/$work/run"
mkdir -p "$work"
began=$(date +%s)

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

# What pip is told on this machine holds within the build as well, and so does every file and folder that it names.
{ echo "[global]"; python3 -m pip config list | sed -n "s/^global\.\([a-z-]*\)='\(.*\)'$/\1 = \2/p"; } > "$work/pip.conf"
lent="--volume $PWD/$work/pip.conf:/etc/pip.conf:ro"
# The bundle alone of the certificates: Java's package writes beside it.
named=$(grep -o "file://[^ ]*\|[ =]/[^ ]*" "$work/pip.conf" | sed "s#^file://##; s#^[ =]*##; s#/simple\$##")
for path in $(printf '%s\n' /etc/ssl/certs/ca-certificates.crt $named | sort -u); do
    [ ! -e "$path" ] || lent="$lent --volume $path:$path:ro"
done
# The health check is of Docker's image format; OCI's has none.
buildah $store bud --format docker --isolation chroot --build-arg BASE=localhost/alpharay-base \
    --build-arg LANGUAGES="${LANGUAGES:-}" $lent --tag alpharay .

buildah $store rmi --prune >/dev/null # what an earlier build left
buildah $store images
echo "built after $(($(date +%s) - began)) s"

box=$(buildah $store from --quiet localhost/alpharay)
trap 'buildah $store rm "$box" >/dev/null' EXIT
run="buildah $store run --isolation chroot --user alpharay $box --"
$run alpharay judge --languages
$run alpharay doctor || echo "note: doctor found something missing in this box"
# What this isolation runs has a number of this machine's, to which SIGTERM goes: `buildah run` itself would kill it.
began=$(date +%s)
$run sh -c 'echo "$$"; exec alpharay serve --port "$1"' sh "$port" > "$work/served" &
outer=$!
stop() {
    kill "$(head -n 1 "$work/served")" 2>/dev/null || true
    wait "$outer"
}
trap 'stop || true; buildah $store rm "$box" >/dev/null' EXIT
until grep -q "^ready" "$work/served"; do
    kill -0 "$outer" 2>/dev/null || { echo "error: the server in the image ended" >&2; exit 1; }
    sleep 1
done
echo "ready after $(($(date +%s) - began)) s"
python3 - "$port" <<'PYTHON'
import json, re, sys, urllib.request
(body,) = re.findall(r"curl -s \S+ -H '[^']+' -d '(.+?)'\n```", open("README.md").read(), re.DOTALL)
request = urllib.request.Request(
    f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions", body.encode(), {"Content-Type": "application/json"}
)
answer = json.load(urllib.request.urlopen(request, timeout=300))
print(json.dumps(answer["alpharay"]))
sys.exit(answer["choices"][0]["alpharay"]["verdict"] != "accepted")
PYTHON
trap 'buildah $store rm "$box" >/dev/null' EXIT
stop
echo "the image alpharay is built, answered the README's request, and stopped when it was told to"
