"""Load an encoder's tokenizer, and find out how many sub-words the encoder takes."""

import json
import logging
import os
from typing import Any

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, PreTrainedConfig
from transformers.models.auto.tokenization_auto import get_tokenizer_config


logger = logging.getLogger(__name__)


# Encoders whose positions begin after the padding id, so that they take fewer sub-words than they have embeddings.
OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip


def _explain_damage(name_or_path: str, error: Exception) -> ValueError:
    problem = f"can't be loaded ({type(error).__name__}: {str(error)[:200]!r})"
    where = "" if os.path.isdir(name_or_path) else ", or delete them from the cache with hf cache rm"
    return ValueError(f"the tokenizer of {name_or_path} {problem}; copy its files again{where}")


def load_tokenizer(name_or_path: str, trust_remote_code: bool = False, **hub_options: Any) -> Any:
    """Load the encoder's fast tokenizer, and turn lower-casing off if the vocabulary is cased.

    Several BioBERT repositories hold only `vocab.txt` and `config.json`. They load with lower-casing on although their
    vocabulary is cased, and every word with a capital would lose its own sub-words.

    Args:
        trust_remote_code: run the code that the tokenizer's files bring along, if they do.
        hub_options: `revision`, `cache_dir`, ... for `from_pretrained`.

    Raises:
        ValueError: there is no fast tokenizer, without which words can't be aligned with sub-words; or no vocabulary,
            for which transformers makes an empty one; or it needs code that isn't trusted.
    """
    try:
        settings = get_tokenizer_config(name_or_path, **{k: v for k, v in hub_options.items() if k != "config"})
    except json.JSONDecodeError as error:
        raise _explain_damage(name_or_path, error) from error
    if settings.get("auto_map") and not trust_remote_code:
        problem = f"has a tokenizer with code of its own ({settings.get('tokenizer_class')}), which is not run"
        raise ValueError(f"{name_or_path} {problem}; read the code and give --trust_remote_code, or choose another")
    hub_options["trust_remote_code"] = trust_remote_code
    # Words are tokenised one by one, so byte-level tokenizers must see each as if a space came before it.
    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, add_prefix_space=True, **hub_options)
        tokenizer(["a \U00012000"])  # so that one that fails at words, or at unknown characters, is told of here
    except Exception as error:  # whatever the libraries raise for damaged files
        if isinstance(error, ValueError | OSError | ImportError) and not isinstance(error, json.JSONDecodeError):
            raise
        raise _explain_damage(name_or_path, error) from error
    if not tokenizer.is_fast:
        raise ValueError(
            f"{name_or_path} has only a slow tokenizer ({type(tokenizer).__name__}); choose an encoder with a fast one"
        )
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        problem = "has no vocabulary, and every word would be unknown"
        raise ValueError(f"{name_or_path} {problem}; put its tokenizer.json or vocab.txt there")
    if lowercases_cased_vocabulary(tokenizer):
        logger.warning("%s: the vocabulary is cased but its tokenizer lower-cases; lower-casing is off", name_or_path)
        hub_options["do_lower_case"] = False
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, add_prefix_space=True, **hub_options)
    # Tokenizers that have no class of their own, such as ModernBERT's, ignore the argument `add_prefix_space`.
    steps = tokenizer.backend_tokenizer.pre_tokenizer
    for step in steps if isinstance(steps, pre_tokenizers.Sequence) else [steps]:
        if isinstance(step, pre_tokenizers.ByteLevel):
            step.add_prefix_space = True
    return tokenizer


def lowercases_cased_vocabulary(tokenizer: Any) -> bool:
    """Tell whether the tokenizer lower-cases although many of its vocabulary's tokens have capitals."""
    normalizer = getattr(tokenizer.backend_tokenizer, "normalizer", None)
    if normalizer is None or normalizer.normalize_str("EGFR") != "egfr":
        return False
    special = set(tokenizer.all_special_tokens)
    cased = sum(token != token.lower() for token in tokenizer.get_vocab() if token not in special)
    return cased > 0.02 * len(tokenizer)


def get_max_length(tokenizer: Any, encoder_config: PreTrainedConfig) -> int:
    """Find the most sub-words that the encoder takes, by its position embeddings and the tokenizer's own limit."""
    positions = getattr(encoder_config, "max_position_embeddings", None) or 0
    positions = positions if positions > 0 else 10**9  # XLNet, for one, says -1
    if getattr(encoder_config, "model_type", "") in OFFSET_POSITIONS:
        positions -= encoder_config.pad_token_id + 1
    return min(positions, tokenizer.model_max_length)  # which is often 1e30
