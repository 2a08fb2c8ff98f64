"""BC2GM (BioCreative II gene mention): 20,000 sentences with genes and proteins, read as `Gene`."""

from dataset_scripts.corpus import Archive, Corpus, Files
from dataset_scripts.formats.bc2gm import read_bc2gm


_SITE = "https://biocreative.bioinformatics.udel.edu/media/store/files/2011"
_TRAIN, _TEST = "bc2geneMention/train", "BC2GM/test"

CORPUS = Corpus(
    name="bc2gm",
    title="BC2GM",
    folder="bc2gm",
    type_map={"GENE": "Gene"},
    files={
        "train": Files(read_bc2gm, ("train.in", "GENE.eval", "ALTGENE.eval"), (_TRAIN,)),
        "test": Files(read_bc2gm, ("test.in", "GENE.eval", "ALTGENE.eval", "test.idmap"), (_TEST,)),
    },
    archives=(Archive(f"{_SITE}/bc2GMtrain_1.1.tar.gz"), Archive(f"{_SITE}/bc2GMtest_1.0.tar.gz")),
    id_space="bc2gm",
    expected={"train": (15000, 18265), "test": (5000, 6331)},
    sha256={  # of the files in spyysalo/bc2gm-corpus (`original-data/`); none of the archives is published
        f"{_TRAIN}/train.in": "408f32a796e7aa8ed5b6428c1887e084282b42a02409bba151d0bda3698ca6e3",
        f"{_TRAIN}/GENE.eval": "6f2b01a25d700f1fddcc7dea6a1b722498b5a9ad6cf12b19ec9d36ab3b63ad87",
        f"{_TRAIN}/ALTGENE.eval": "39b33098791c57747db1f8b6f91109879310fc726ba52dd3e446f9653d795bf5",
        f"{_TEST}/test.in": "dc1b919a143f99d0cb9182a3a26b1c98e46799d052a463d4c212c49532f123fd",
        f"{_TEST}/GENE.eval": "e6df54b52d337a02a5b11432d132b28c7c657f717e1fe6e8035d3c7b2a18bf4f",
        f"{_TEST}/ALTGENE.eval": "07bee7571c3197db1b886cc790c6f488f2408d3d012006865cc926d93b6c7b8d",
        f"{_TEST}/test.idmap": "9cba796d1d0ca7710c66318f5bc5382a46e8d9a0d2e7def4d3e8c898c4ff7cc7",
    },
    citation="""@article{smith2008overview,
  title   = {Overview of {BioCreative II} gene mention recognition},
  author  = {Smith, Larry and Tanabe, Lorraine K. and Ando, Rie Johnson and others},
  journal = {Genome Biology}, volume = {9}, number = {Suppl 2}, pages = {S2}, year = {2008},
  doi     = {10.1186/gb-2008-9-s2-s2}
}""",
    licence="US Government work, public domain",
    homepage="https://biocreative.bioinformatics.udel.edu/resources/corpora/biocreative-ii-corpus/",
)
