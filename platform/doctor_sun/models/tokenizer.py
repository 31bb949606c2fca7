"""A byte-level BPE tokenizer with Llama-3's special tokens, trained on the spot (tiny preset).

Byte-level, so every Chinese or English text round-trips, whatever it was trained on.
"""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from doctor_sun.models.chat_template import (
    BEGIN_OF_TEXT,
    END_OF_TURN,
    LLAMA3_TEMPLATE,
    PADDING,
    SPECIAL_TOKENS,
)
from doctor_sun.records import IMAGE_PLACEHOLDER


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of at most `vocabulary` tokens; special tokens take the first ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL_TOKENS, IMAGE_PLACEHOLDER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        extra_special_tokens={"image_token": IMAGE_PLACEHOLDER},
        chat_template=LLAMA3_TEMPLATE,
    )
