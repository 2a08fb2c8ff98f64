# A server of one model (CPU). Build: docker build -t mtl-bioner . Run, the model as a folder or a name on the Hub:
#   docker run -p 127.0.0.1:8000:8000 -v "$PWD/outputs/quickstart:/model:ro" mtl-bioner
#   docker run -p 127.0.0.1:8000:8000 -v hub:/home/ner/.cache mtl-bioner OWNER/NAME --threshold 0.5
# Everything comes from the package index. Its torch for Linux brings CUDA along; for a smaller image without it:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu -t mtl-bioner .
ARG PYTHON=3.11
FROM python:${PYTHON}-slim AS build
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/mtl-bioner
WORKDIR /src
# First what changes rarely, so that a change of the code doesn't install everything anew.
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir dataset_scripts mtl_bioner \
    && touch data_collators.py modeling_mtl_bioner.py run_annotate.py run_comparison.py run_mtl_ner.py \
    && /opt/mtl-bioner/bin/pip install --use-pep517 --constraint constraints.txt '.[serve,onnx]' \
    && /opt/mtl-bioner/bin/pip uninstall --yes mtl-bioner \
    && rm -r build ./*.egg-info dataset_scripts mtl_bioner ./*.py  # else setuptools would take these for newer ones
COPY *.py ./
COPY dataset_scripts dataset_scripts
COPY mtl_bioner mtl_bioner
RUN /opt/mtl-bioner/bin/pip install --no-deps .

FROM python:${PYTHON}-slim
COPY --from=build /opt/mtl-bioner /opt/mtl-bioner
RUN useradd --create-home --uid 1000 ner && mkdir /home/ner/.cache && chown ner /home/ner/.cache
USER 1000
WORKDIR /home/ner
ENV PATH=/opt/mtl-bioner/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --start-period=120s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["mtl-bioner", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/model"]
