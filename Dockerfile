# The app and nothing else: what requirements.txt names, the package, its weights.
#
#     docker build -t mnist-generator . && docker run --rm -p 8501:8501 -m 512m mnist-generator
# The digest of 3.13-slim for all processors. Dependabot proposes newer ones; by hand: `docker buildx imagetools inspect python:3.13-slim`.
FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

# MALLOC_ARENA_MAX: a visitor's click runs in a thread of its own, and each new heap that glibc gives to threads is memory it keeps.
# MALLOC_TRIM_THRESHOLD_: what a run no longer needs goes back at once.
# OMP_NUM_THREADS: five digits are too little work to share out. PORT: the platform may set another.
ENV MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=65536 OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 PORT=8501

WORKDIR /app

# PyTorch's own index has the build for CPUs; it wins because 2.13.0+cpu counts as newer than 2.13.0. The build for GPUs is many times
# as large and holds twice the memory: with it, the image is not built.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt requirements-gpu.txt ./
RUN python -m pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r requirements.txt
RUN python -c "import torch; assert torch.version.cuda is None, 'not the build for CPUs: set the argument TORCH_INDEX'"

COPY .streamlit .streamlit
COPY app.py mnist_vae.pth ./
COPY mnist_vae mnist_vae
COPY web web
RUN python -m compileall -q mnist_vae

USER nobody
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD python -c "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/_stcore/health', timeout=4)"
CMD ["sh", "-c", "exec python -m streamlit run app.py --server.headless=true --server.address=0.0.0.0 --server.port=$PORT"]
