"""Multi-task biomedical named entity recognition on the Hugging Face stack.

    import mtl_bioner

    result = mtl_bioner.train(tasks="ncbi,bc5cdr", data_dir="sample", model_name_or_path="ENCODER")
    ner = mtl_bioner.load(result.output_dir)
    ner("Cisplatin caused acute renal failure.")

Names are imported when they are first used, so that importing the package takes no time.
"""

import importlib
from typing import Any


_HOMES = {
    "annotate": "mtl_bioner.annotation.engine",
    "load": "mtl_bioner.api",
    "train": "mtl_bioner.api",
    "TrainingResult": "mtl_bioner.api",
    "MultiTaskTrainer": "mtl_bioner.training.trainer",
    "MultiTaskTrainingArguments": "mtl_bioner.training.training_arguments",
    "MultiTaskCollator": "data_collators",
    "TaskBatchSampler": "data_collators",
    "TaskRows": "data_collators",
    "MtlBionerConfig": "modeling_mtl_bioner",
    "MtlBionerModel": "modeling_mtl_bioner",
    "MtlBionerOutput": "modeling_mtl_bioner",
    "MtlBionerPipeline": "modeling_mtl_bioner",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("mtl-bioner")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
