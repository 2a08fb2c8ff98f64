"""NCBI Disease: 793 PubMed abstracts, four classes of disease mention, all read as `Disease`."""

from dataset_scripts.corpus import Archive, Corpus, Files
from dataset_scripts.formats.pubtator import read_pubtator


_SITE = "https://www.ncbi.nlm.nih.gov/CBBresearch/Dogan/DISEASE"

CORPUS = Corpus(
    name="ncbi",
    title="NCBI Disease",
    folder="ncbi_disease",
    type_map=dict.fromkeys(("SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"), "Disease"),
    files={
        "train": Files(read_pubtator, ("NCBItrainset_corpus.txt",)),
        "dev": Files(read_pubtator, ("NCBIdevelopset_corpus.txt",)),
        "test": Files(read_pubtator, ("NCBItestset_corpus.txt",)),
    },
    archives=tuple(Archive(f"{_SITE}/NCBI{split}set_corpus.zip") for split in ("train", "develop", "test")),
    id_space="pmid",
    # the training file has 593 documents: PMID 8528200 (11 mentions) is there twice
    expected={"train": (592, 5145), "dev": (100, 787), "test": (100, 960)},
    sha256={  # of the files in spyysalo/ncbi-disease (`original-data/`); none of the archives is published
        "NCBItrainset_corpus.txt": "f311381b28a6d0f641f57f4a963bb83619c2bdec5cd9caabb1381f894d5db817",
        "NCBIdevelopset_corpus.txt": "02db559974624ae9cbe6cd95d64d953e6926bb63afb6b25b63e53bd8b41a4b55",
        "NCBItestset_corpus.txt": "61c8050bf6979ef7b943ec1158dfc03b651ea3367d4c37356f9de4841e85c9a3",
    },
    citation="""@article{dogan2014ncbi,
  title   = {{NCBI} disease corpus: a resource for disease name recognition and concept normalization},
  author  = {Do{\\u{g}}an, Rezarta Islamaj and Leaman, Robert and Lu, Zhiyong},
  journal = {Journal of Biomedical Informatics}, volume = {47}, pages = {1--10}, year = {2014},
  doi     = {10.1016/j.jbi.2013.12.006}
}""",
    licence="US Government work, public domain",
    homepage="https://www.ncbi.nlm.nih.gov/CBBresearch/Dogan/DISEASE/",
)
