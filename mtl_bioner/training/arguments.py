"""Model and data arguments of `run_mtl_ner.py`."""

from __future__ import annotations  # so that the choices of --sharing are those registered when they are read

from dataclasses import MISSING, dataclass
from typing import Literal

from dataset_scripts.formats.tags import SCHEMES
from modeling_mtl_bioner import SHARING
from mtl_bioner.training.options import CORPORA, EVALUATION, MODEL, OUTPUT, TEACHERS, TRAINING, option


@dataclass
class ModelArguments:
    """The encoder, the sharing layer between encoder and heads, and the teachers."""

    model_name_or_path: str = option(
        MODEL, "dmis-lab/biobert-base-cased-v1.2", "Encoder or saved multi-task model: Hub id or folder."
    )
    teachers: list[str] | None = option(
        TEACHERS,
        None,
        "Folders or Hub ids of saved models. Their heads named in --tasks label the training text of the other tasks, "
        "and the model learns these soft labels too (--teacher_weight). `auto`, the default for several tasks and an "
        "encoder, first trains one such model per task in teachers/ of the output folder. `none` halves the time.",
    )
    sharing: Literal[tuple(SHARING)] | None = option(
        MODEL, None, "Sharing layer between encoder and heads; default hard, or as saved in the model."
    )
    sharing_size: int | None = option(
        MODEL, None, "Width of shared and private features; default a sixth of the encoder's, or as saved."
    )
    adversarial_weight: float | None = option(
        MODEL, None, "Weight of the discriminator's loss in adversarial sharing; default 0.01, or as saved."
    )
    difference_weight: float | None = option(
        MODEL, None, "Weight of the orthogonality penalty in adversarial sharing; default 0.001, or as saved."
    )
    report_gates: bool = option(
        EVALUATION, False, "With --sharing cross, plot how far each task opens the gates of the others (gates.png)."
    )
    freeze_encoder: bool = option(TRAINING, False, "Train only the heads of --tasks; encoder and other heads stay.")
    drop_tasks: str | None = option(MODEL, None, "Heads of the saved model to remove, separated by commas.")
    head_dropout: float | None = option(MODEL, None, "Dropout before the heads; default 0.1, or as saved.")
    attention_dropout: float | None = option(
        MODEL, None, "Dropout of attention weights; default 0, which allows fused kernels, or as saved."
    )
    trust_remote_code: bool = option(
        MODEL, False, "Run the code that the tokenizer of encoder, model or teachers brings along. Read it first."
    )
    model_revision: str = option(MODEL, "main", "Branch, tag or commit on the Hub.")
    cache_dir: str | None = option(MODEL, None, "Folder in which downloaded models are kept.")


@dataclass
class DataArguments:
    """The corpora, their splits, and how text becomes rows."""

    tasks: str = option(
        CORPORA,
        MISSING,
        "Tasks, separated by commas: [name=]source[:Type|Type][+source...]. A source is ncbi, bc5cdr, bc2gm, jnlpba, "
        "genia, the path of your own corpus, or hf:OWNER/NAME[:CONFIG] on the Hub (types behind a second colon).",
    )
    data_dir: str | None = option(
        CORPORA, None, "Folder with ncbi_disease/, bc5cdr/ and so on; `sample` is built in; default: download."
    )
    overwrite_output: bool = option(
        OUTPUT, False, "Write into a non-empty output folder; deletes an earlier training's results and checkpoints."
    )
    dry_run: bool = option(
        TRAINING, False, "Print rows, sub-words, steps and estimated time of the training, and stop."
    )
    search: int | None = option(
        TRAINING,
        None,
        "Number of trials (optuna) that search learning rate, sampling, loss weights and sharing size for the best "
        "development macro F1, instead of one training. The same command resumes an interrupted search.",
    )
    train_fraction: str | None = option(
        CORPORA, None, "Share of each corpus' training documents, drawn by --seed: 0.1, or by task ncbi=0.1."
    )
    train_on_dev: bool = option(
        CORPORA, False, "Train on the development split too. No epoch is the best then, so the last is kept."
    )
    test_size: float | None = option(
        CORPORA, None, "Share of the documents to hold out as test split, instead of the official splits."
    )
    dev_size: float = option(
        CORPORA, 0.1, "Share of the training documents to hold out where a corpus has no development split."
    )
    split_seed: int = option(CORPORA, 42, "Seed of these splits; independent of --seed.")
    tag_column: str | None = option(
        CORPORA,
        None,
        "Column of the tags in your own corpora: its number from 1 in CoNLL, -1 the last; else its name.",
    )
    token_column: str | None = option(CORPORA, None, "Column of the tokens, in the same way.")
    tag_scheme: Literal[tuple(SCHEMES)] | None = option(
        CORPORA, None, "Scheme of the tags in your own corpora, which refuses others; default: detected."
    )
    strict: bool = option(
        CORPORA, False, "Refuse files with mentions outside the text or without a type, instead of dropping these."
    )
    allow_losses: bool = option(CORPORA, False, "Accept corpora that lose more than half of their mentions.")
    leaks: Literal["drop", "warn", "error"] | None = option(
        CORPORA,
        None,
        "What to do with training text that is held-out text of some task; default drop. In a run that only scores, "
        "with documents that the saved model was trained on; default warn.",
    )
    leak_corpora: str | None = option(
        CORPORA, None, "Further corpora, separated by commas, whose held-out text is kept out of training."
    )
    max_seq_length: int | None = option(
        MODEL, None, "Sub-words per window; longer text becomes several windows; default 320, or as saved."
    )
    context_size: int | None = option(
        MODEL, None, "Sub-words of context on each side of a window; default 32, or as saved."
    )
    text_unit: Literal["sentence", "passage"] | None = option(
        MODEL, None, "Start a window at each sentence, or fill windows with text; default sentence, or as saved."
    )
    label_subwords: Literal["first", "all"] = option(
        TRAINING, "all", "Sub-words of a word that carry its label in training. Decoding reads the first."
    )
    max_train_samples: int | None = option(CORPORA, None, "Most training documents per corpus, for debugging.")
    max_eval_samples: int | None = option(CORPORA, None, "Most development documents per corpus, for debugging.")
    max_predict_samples: int | None = option(CORPORA, None, "Most test documents per corpus, for debugging.")
