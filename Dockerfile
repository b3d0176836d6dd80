# The server on a CPU. Build: docker build -t speech-server .
# With PIP_EXTRA_INDEX_URL set to PyTorch's index of builds without CUDA, the image is several gigabytes smaller:
# docker build --build-arg PIP_EXTRA_INDEX_URL=... -t speech-server .
# Run: docker run -p 127.0.0.1:8000:8000 -e NS2_DIFFUSERS_API_KEY=secret speech-server
FROM python:3.12-slim-bookworm

RUN useradd --create-home speech && install -d -o speech /voices
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE CHANGELOG.md ./
COPY src src
ARG PIP_EXTRA_INDEX_URL=""
RUN pip install --no-cache-dir ".[serve]" && rm -rf /src

USER speech
WORKDIR /home/speech
EXPOSE 8000
VOLUME /voices
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health')"]
# It is reached from outside of the container, so it wants a key in NS2_DIFFUSERS_API_KEY.
CMD ["ns2-diffusers", "serve", "--host", "0.0.0.0", "--port", "8000", "--voices", "/voices"]
