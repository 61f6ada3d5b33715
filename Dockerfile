# syntax=docker/dockerfile:1
# The CPU image:  docker build -t alpharay .
# The GPU image:  docker build --build-arg ENGINE=gpu -t alpharay:gpu .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG ENGINE=cpu
WORKDIR /src
COPY . .
# The environment is made the way `make env` makes it; the package goes in as a wheel, not as an editable install.
RUN python3 deploy/make_env.py /opt/alpharay --extra ${ENGINE} --wheel

FROM ${BASE}
ARG ENGINE=cpu
# Other languages that the judge is to run: --build-arg LANGUAGES="openjdk-17-jdk-headless nodejs rustc golang-go"
ARG LANGUAGES=""
# vLLM is linked against libnuma. The judge compiles C++ candidates by g++; on GPUs, Triton compiles C when a kernel
# first runs.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 g++ ${LANGUAGES} \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 alpharay
COPY --from=build /opt/alpharay /opt/alpharay
# What NVIDIA's container runtime lets in of the driver; nothing without GPUs.
ENV PATH=/opt/alpharay/bin:$PATH PYTHONUNBUFFERED=1 NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER alpharay
WORKDIR /home/alpharay
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# The judge refuses to run programs unless a sandbox layer works: in a container Landlock does, where the
# kernel has it (5.13 or newer); `docker run --rm alpharay doctor` says so.
ENTRYPOINT ["alpharay"]
CMD ["serve", "--host", "0.0.0.0"]
