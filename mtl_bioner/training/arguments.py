"""Model and data arguments of `run_mtl_ner.py`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ModelArguments:
    """Which encoder, and what stands between it and the heads."""

    model_name_or_path: str = field(
        default="dmis-lab/biobert-base-cased-v1.2",
        metadata={"help": "Hub id or folder of an encoder, or of a saved multi-task model to go on with."},
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where downloaded models are kept."})
    sharing: str | None = field(
        default=None,
        metadata={
            "help": "Sharing layer between encoder and heads: hard, shared_private, adversarial or cross; default "
            "hard, or the saved model's."
        },
    )
    sharing_size: int | None = field(
        default=None,
        metadata={
            "help": "Width of shared and private features, if not hard; default a sixth of the encoder's, or the "
            "saved model's."
        },
    )
    adversarial_weight: float | None = field(
        default=None, metadata={"help": "Of adversarial sharing's discriminator; default 0.01, or the saved model's."}
    )
    difference_weight: float | None = field(
        default=None,
        metadata={"help": "Of adversarial sharing's second penalty; default 0.001, or the saved model's."},
    )
    head_dropout: float | None = field(
        default=None, metadata={"help": "Dropout before the heads; default 0.1, or the saved model's."}
    )
    attention_dropout: float | None = field(
        default=None,
        metadata={
            "help": "Dropout of attention weights; default 0, which allows fused attention kernels, or the saved "
            "model's."
        },
    )
    freeze_encoder: bool = field(
        default=False,
        metadata={"help": "Train what belongs to the tasks of --tasks alone (heads); encoder and other heads stay."},
    )
    teachers: list[str] | None = field(
        default=None,
        metadata={
            "help": "Folders or Hub ids of saved models: their heads of the names in --tasks label the training text "
            "of the other tasks, softly, and that is learned too (--teacher_weight). `auto`, the default where "
            "several tasks are trained from an encoder, first trains such a model for each task alone, kept in "
            "teachers/ of the output folder; `none` leaves that out, which halves the time."
        },
    )
    report_gates: bool = field(
        default=False,
        metadata={"help": "With --sharing cross: write how far each task opens the gates of each other, gates.png."},
    )
    drop_tasks: str | None = field(
        default=None, metadata={"help": "Heads of a saved model to leave out, separated by commas."}
    )


@dataclass
class DataArguments:
    """Which corpora, how they are split, and how text becomes rows."""

    tasks: str = field(
        metadata={
            "help": "Tasks, separated by commas: [name=]source[:Type|Type][+source...]; a source is ncbi, bc5cdr, "
            "bc2gm, jnlpba, genia, or the path of a corpus of your own."
        }
    )
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder with ncbi_disease/, bc5cdr/, ...; `sample` is the embedded one; default: download."},
    )
    test_size: float | None = field(
        default=None, metadata={"help": "Pool the official splits and hold out this share of the documents."}
    )
    dev_size: float = field(
        default=0.1, metadata={"help": "Share of training documents cut off where a corpus has no development split."}
    )
    split_seed: int = field(default=42, metadata={"help": "Seed of these cuts, apart from the training's seed."})
    leaks: str = field(
        default="drop", metadata={"help": "Training text that is held-out text of a task: drop, warn or error."}
    )
    train_on_dev: bool = field(
        default=False,
        metadata={
            "help": "Train on the development documents too; nothing is left then to choose the best epoch by, so the "
            "last is kept."
        },
    )
    leak_corpora: str | None = field(
        default=None,
        metadata={
            "help": "Further corpora, separated by commas, whose held-out text is kept out of training too, so that a "
            "training on some corpora can be compared with one on more."
        },
    )
    max_seq_length: int | None = field(
        default=None,
        metadata={"help": "Sub-words of a window, longer text becomes several; default 320, or as the saved model's."},
    )
    context_size: int | None = field(
        default=None,
        metadata={"help": "Sub-words of context a window has on each side; default 32, or as the saved model's."},
    )
    text_unit: str | None = field(
        default=None,
        metadata={
            "help": "`sentence` starts a window at each sentence, `passage` fills windows with whole text; default "
            "sentence, or as the saved model's."
        },
    )
    label_subwords: str = field(
        default="all",
        metadata={
            "help": "Which sub-words of a word are labelled in training: `first` or `all`; decoded is the first one."
        },
    )
    train_fraction: str | None = field(
        default=None,
        metadata={
            "help": "Share of the training documents of each corpus, drawn by --seed: 0.1, or by task ncbi=0.1; a "
            "larger share holds the smaller one."
        },
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Documents of each corpus, for debugging."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Documents of each corpus, for debugging."})
    max_predict_samples: int | None = field(
        default=None, metadata={"help": "Documents of each corpus, for debugging."}
    )
    search: int | None = field(
        default=None,
        metadata={
            "help": "Instead of one training, so many trials (optuna) for the learning rate, sampling, loss weights "
            "and sharing size of the best development macro F1; the same command goes on with an interrupted search."
        },
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Print rows, sub-words, steps and the estimated time of training, and stop."}
    )
    overwrite_output: bool = field(
        default=False,
        metadata={
            "help": "Write into a non-empty output folder, and delete what an earlier training wrote there: scores, "
            "predictions, checkpoints, teachers/."
        },
    )
