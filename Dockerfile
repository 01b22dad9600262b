# gan_lab in a container. Build and run it, in a checkout, on a CPU:
#
#   docker build --build-arg USER_ID="$(id -u)" -t gan_lab .
#   docker run --rm -it -v "$PWD/outputs:/workspace/outputs" -v gan_lab_data:/workspace/data gan_lab epochs=2
#
# With CUDA, where the NVIDIA Container Toolkit is installed:
#
#   docker build --build-arg USER_ID="$(id -u)" --build-arg TORCH=cu126 -t gan_lab:cuda .
#   docker run --rm -it --gpus all -v "$PWD/outputs:/workspace/outputs" -v gan_lab_data:/workspace/data gan_lab:cuda epochs=2
#
# What no -v keeps is gone with the container. For sweeps (-m) also: -v "$PWD/multirun:/workspace/multirun"
# Another command: docker run --rm -v "$PWD/outputs:/workspace/outputs" -v gan_lab_data:/workspace/data --entrypoint gan-evaluate gan_lab run=latest

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim

# The index of PyTorch that its wheels come from: cpu, cu126, ...
ARG TORCH=cpu
# The user inside, who has to be allowed to write to the mounted folders
ARG USER_ID=1000

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

# First, and from that index alone: the same PyTorch then satisfies gan_lab, and its layer outlives changes of the code
RUN pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/${TORCH}" "torch>=2.6" "torchvision>=0.21"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir /wheel/*.whl

RUN useradd --create-home --no-log-init --non-unique --uid "${USER_ID}" gan_lab \
    && install --directory --owner=gan_lab --group=gan_lab /workspace /workspace/outputs /workspace/multirun /workspace/data

ENV GAN_LAB_DATA=/workspace/data \
    GAN_LAB_WEIGHTS=/workspace/data/weights

USER gan_lab
WORKDIR /workspace
VOLUME ["/workspace/outputs", "/workspace/multirun", "/workspace/data"]
ENTRYPOINT ["gan-train"]
