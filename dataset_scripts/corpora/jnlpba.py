"""JNLPBA: 2,000 + 404 MEDLINE abstracts with proteins, DNA, RNA, cell types and cell lines, all five types kept.

Read from the official IOB2 files if both splits are there, else from `standoff/` (spyysalo/jnlpba, the same annotation
on natural text). The archives hold plain files, so each is unpacked into its own folder. The hash is of the test file
in spyysalo/jnlpba; no hash of the training file is published.
"""

from dataset_scripts.corpus import Archive, Corpus, Files
from dataset_scripts.formats.brat import read_brat
from dataset_scripts.formats.conll import read_conll


_SITE = "https://www.nactem.ac.uk/GENIA/current/Shared-tasks/JNLPBA"

CORPUS = Corpus(
    name="jnlpba",
    title="JNLPBA",
    folder="jnlpba",
    type_map={"protein": "Protein", "DNA": "DNA", "RNA": "RNA", "cell_type": "CellType", "cell_line": "CellLine"},
    files={
        "train": Files(read_conll, ("Genia4ERtask2.iob2",), ("original-data/train", "Genia4ERtraining", "")),
        "test": Files(read_conll, ("Genia4EReval2.iob2",), ("original-data/test", "Genia4ERtest", "")),
    },
    alternative_files={split: Files(read_brat, (f"standoff/{split}",)) for split in ("train", "test")},
    archives=(
        Archive(f"{_SITE}/Train/Genia4ERtraining.tar.gz", into="original-data/train"),
        Archive(f"{_SITE}/Evaluation/Genia4ERtest.tar.gz", into="original-data/test"),
    ),
    id_space="medline",
    numbered=True,
    expected={"train": (2000, 51301), "test": (404, 8662)},
    sha256={
        "original-data/test/Genia4EReval2.iob2": "4334602737eef0aa3a91c8d5b5122f23447baa85c276c27385f921cb228a1e7c"
    },
    citation="""@inproceedings{collier2004introduction,
  title     = {Introduction to the Bio-entity Recognition Task at {JNLPBA}},
  author    = {Collier, Nigel and Kim, Jin-Dong},
  booktitle = {Proceedings of {NLPBA/BioNLP}}, pages = {73--78}, year = {2004},
  url       = {https://aclanthology.org/W04-1213}
}""",
    licence="GENIA Project License for Annotated Corpora; annotation CC BY 3.0",
    homepage="http://www.geniaproject.org/shared-tasks/bionlp-jnlpba-shared-task-2004",
)
