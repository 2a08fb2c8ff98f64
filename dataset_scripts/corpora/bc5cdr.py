"""BC5CDR (BioCreative V CDR): 1,500 PubMed abstracts with chemicals and diseases.

No hash is recorded: the copy at hand when this was written (ncbi/AIONER's) has nested and discontinuous mentions
flattened, so its bytes differ from the official files. A download is checked by its counts: 500 documents a split
(else refused), and the mentions of that copy or of the paper's table (else a warning).
"""

from dataset_scripts.corpus import Archive, Corpus, Expected, places
from dataset_scripts.formats.pubtator import read_pubtator


_FOLDERS = ("CDR_Data/CDR.Corpus.v010516/",)

CORPUS = Corpus(
    name="bc5cdr",
    title="BC5CDR",
    folder="bc5cdr",
    type_map={"Chemical": "Chemical", "Disease": "Disease"},
    layouts=(
        {
            "train": places(read_pubtator, _FOLDERS, "CDR_TrainingSet.PubTator.txt"),
            "dev": places(read_pubtator, _FOLDERS, "CDR_DevelopmentSet.PubTator.txt"),
            "test": places(read_pubtator, _FOLDERS, "CDR_TestSet.PubTator.txt"),
        },
    ),
    archives=(Archive("https://ftp.ncbi.nlm.nih.gov/pub/lu/BC5CDR/CDR_Data.zip"),),
    id_space="pmid",
    expected={
        "train": Expected(500, (9383, 9385)),  # flattened copy, paper's table
        "dev": Expected(500, (9591,)),
        "test": Expected(500, (9796, 9809)),
    },
    citation="""@article{li2016bc5cdr,
  title   = {{BioCreative V CDR} task corpus: a resource for chemical disease relation extraction},
  author  = {Li, Jiao and Sun, Yueping and Johnson, Robin J. and Sciaky, Daniela and Wei, Chih-Hsuan and
             Leaman, Robert and Davis, Allan Peter and Mattingly, Carolyn J. and Wiegers, Thomas C. and Lu, Zhiyong},
  journal = {Database}, volume = {2016}, pages = {baw068}, year = {2016}, doi = {10.1093/database/baw068}
}""",
    licence="Public Domain Mark 1.0",
    homepage="https://biocreative.bioinformatics.udel.edu/resources/corpora/biocreative-v-cdr-corpus/",
)
