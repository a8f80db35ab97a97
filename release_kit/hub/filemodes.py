"""Which files a Hub stores as large ones (LFS), decided here so that most uploads need not ask.

The rules are those that the Hub writes into the ``.gitattributes`` of every new repo, its size limit, and text or not.
Content is identified both ways in a manifest, so a Hub that decides otherwise is still verified.
"""

LARGE_SIZE_BYTES = 10 * 1024 * 1024
SAMPLE_BYTES = 8192

_LARGE = (
    "7z arrow avro bin bz2 ckpt ftz gguf gz h5 joblib keras lz4 mds mlmodel model msgpack npy npz onnx ot parquet pb "
    "pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst"
)
_TEXT = "bib bids cff cfg csv html ini jinja json jsonl log md py rst sh svg toml tsv txt xml yaml yml"
LARGE_SUFFIXES = frozenset(_LARGE.split())
TEXT_SUFFIXES = frozenset(_TEXT.split())


def is_large_by_name(path: str, size_bytes: int) -> bool | None:
    """Return whether a file is stored as a large one, None when its first bytes must be seen."""
    if size_bytes == 0:
        return False
    if size_bytes > LARGE_SIZE_BYTES:
        return True
    suffix = path.rpartition("/")[2].rpartition(".")[2].lower()
    if suffix in LARGE_SUFFIXES or "tfevents" in path.rpartition("/")[2]:
        return True
    return False if suffix in TEXT_SUFFIXES else None


def is_text(sample: bytes) -> bool:
    """Return whether the beginning of a file is UTF-8 without NUL; a character cut off at the end is fine."""
    if b"\0" in sample:
        return False
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.start >= len(sample) - 3
    return True
