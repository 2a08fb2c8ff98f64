"""BC5CDR (BioCreative V CDR): 1,500 PubMed abstracts with chemicals and diseases.

The official PubTator files hold 9,385, 9,591 and 9,809 mentions. The copy in ncbi/AIONER, which recorded results rest
on, is flattened: it has no composite mentions and relations, and 15 mentions less. A composite mention ("renal and
liver failure") is one mention; the official BioC files also annotate its parts, which the BioC reader counts as lost.
No hash is recorded, since either edition may be at the address. A download with other than 500 documents a split is
refused; counts of neither edition give a warning.
"""

from dataset_scripts.corpus import Archive, Corpus, Files
from dataset_scripts.formats.pubtator import read_pubtator


_FOLDER = "CDR_Data/CDR.Corpus.v010516"

CORPUS = Corpus(
    name="bc5cdr",
    title="BC5CDR",
    folder="bc5cdr",
    type_map={"Chemical": "Chemical", "Disease": "Disease"},
    files={
        "train": Files(read_pubtator, (f"{_FOLDER}/CDR_TrainingSet.PubTator.txt",)),
        "dev": Files(read_pubtator, (f"{_FOLDER}/CDR_DevelopmentSet.PubTator.txt",)),
        "test": Files(read_pubtator, (f"{_FOLDER}/CDR_TestSet.PubTator.txt",)),
    },
    archives=(Archive("https://ftp.ncbi.nlm.nih.gov/pub/lu/BC5CDR/CDR_Data.zip"),),
    id_space="pmid",
    expected={"train": (500, 9385), "dev": (500, 9591), "test": (500, 9809)},
    editions={"the flattened copy in ncbi/AIONER": {"train": 9383, "dev": 9591, "test": 9796}},
    citation="""@article{li2016bc5cdr,
  title   = {{BioCreative V CDR} task corpus: a resource for chemical disease relation extraction},
  author  = {Li, Jiao and Sun, Yueping and Johnson, Robin J. and Sciaky, Daniela and Wei, Chih-Hsuan and
             Leaman, Robert and Davis, Allan Peter and Mattingly, Carolyn J. and Wiegers, Thomas C. and Lu, Zhiyong},
  journal = {Database}, volume = {2016}, pages = {baw068}, year = {2016}, doi = {10.1093/database/baw068}
}""",
    licence="Public Domain Mark 1.0",
    homepage="https://biocreative.bioinformatics.udel.edu/resources/corpora/biocreative-v-cdr-corpus/",
)
