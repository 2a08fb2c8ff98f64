"""Tell which of the documents that are scored a saved model was trained on."""

import itertools
import logging
from collections import Counter

from dataset_scripts import CorpusError
from dataset_scripts.loading import drop_documents
from dataset_scripts.training_texts import TrainingTexts, find_trained
from mtl_bioner.reporting import run_record
from mtl_bioner.reporting.tables import describe_trained
from mtl_bioner.training.arguments import ModelArguments
from mtl_bioner.training.dataset import list_needed_splits
from mtl_bioner.training.model_setup import read_saved_record
from mtl_bioner.training.run import Run


logger = logging.getLogger(__name__)

HELD_OUT = ("dev", "test")
LEDGER_CAUSE = "training text"  # of mentions in documents that are left out of the score


def read_training_texts(model_args: ModelArguments) -> TrainingTexts:
    """Read what a saved model was trained on; an incomplete record if there is none, as of 0.1, or a damaged one."""
    try:
        content = read_saved_record(model_args, run_record.TRAINING_TEXTS)
        return TrainingTexts(complete=False) if content is None else TrainingTexts.from_dict(content)
    except (OSError, ValueError) as error:
        message = "%s of %s can't be used (%s): documents that it was trained on are not found"
        logger.warning(message, run_record.TRAINING_TEXTS, model_args.model_name_or_path, error)
        return TrainingTexts(complete=False)


def check_scored_texts(run: Run) -> None:
    """Find the documents to score that the saved model was trained on; warn of them, and count them in `run.leaks`.

    `--leaks drop` takes them out of a run that only scores; in one that trains it means the training text, and they
    stay. Raises CorpusError with `--leaks error`.
    """
    run.earlier_texts = read_training_texts(run.model_args)
    run.leaks["earlier_texts_known"] = run.earlier_texts.complete
    mode, trains = run.data_args.leaks, run.args.do_train
    held_out = {name: {split: corpus.splits[split] for split in HELD_OUT} for name, corpus in run.corpora.items()}
    all_trained, limits = find_trained(run.earlier_texts, held_out), list_needed_splits(run)
    drops, scored = mode == "drop" and not trains, run.leaks["scored"]
    for name, split in itertools.product(held_out, [split for split in HELD_OUT if split in limits]):
        # A limit counts the documents that are left, so all are looked at if some are dropped.
        documents = held_out[name][split][: None if drops else limits[split]]
        ways = all_trained.get((name, split), {})
        trained = [document.document_id for document in documents if document.document_id in ways]
        if trained:
            by = Counter(ways[document_id] for document_id in trained)
            entry = {"corpus": name, "split": split, "documents": len(trained), "of": len(documents)}
            entry |= {"by_id": by["id"], "by_text": by["text"], "dropped": len(trained) if drops else 0}
            scored.append(entry)
        if trained and drops:
            run.corpora[name] = drop_documents(run.corpora[name], split, trained, LEDGER_CAUSE)
    if scored and mode == "error":
        raise CorpusError(f"{'; '.join(map(describe_trained, scored))}; --leaks warn scores them, with a warning")
    later = "a later --do_predict --leaks drop" if trains else "--leaks drop"
    for entry in scored:
        action = "left out of the score" if drops else f"{later} leaves them out of the score"
        logger.warning("%s; %s", describe_trained(entry), action)
