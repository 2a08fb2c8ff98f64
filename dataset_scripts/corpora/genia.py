"""GENIA term corpus 3.02: MEDLINE abstracts in one XML file, without official splits.

Its 2,000 abstracts are JNLPBA's training documents: never train on one and test on the other (`leaks.py` sees to it).
`load_corpus` cuts a test and a development part by documents, seeded. The file was not at hand when this was written;
the archive's SHA-256 is the one published in the source of nlstruct and pyner.
"""

from dataset_scripts.corpus import WHOLE, Archive, ByPrefix, Corpus, Expected, places
from dataset_scripts.formats.genia import read_genia_xml


CORPUS = Corpus(
    name="genia",
    title="GENIA 3.02",
    folder="genia",
    # as JNLPBA did: the subclasses of protein, DNA and RNA fall together, all other classes are dropped and counted
    type_map=ByPrefix(
        {"protein_": "Protein", "DNA_": "DNA", "RNA_": "RNA", "cell_type": "CellType", "cell_line": "CellLine"}
    ),
    layouts=({WHOLE: places(read_genia_xml, ("GENIA_term_3.02/", ""), "GENIAcorpus3.02.xml")},),
    archives=(
        Archive(
            "https://www.nactem.ac.uk/GENIA/current/GENIA-corpus/Term/GENIAcorpus3.02.tgz",
            sha256="85b2aede313308c33783ba508d054d0af0ff9c7e48490f0db5168a9f88d74d1c",
        ),
    ),
    id_space="medline",
    numbered=True,
    expected={WHOLE: Expected(2000)},
    citation="""@article{kim2003genia,
  title   = {{GENIA} corpus---a semantically annotated corpus for bio-textmining},
  author  = {Kim, Jin-Dong and Ohta, Tomoko and Tateisi, Yuka and Tsujii, Jun'ichi},
  journal = {Bioinformatics}, volume = {19}, number = {suppl 1}, pages = {i180--i182}, year = {2003},
  doi     = {10.1093/bioinformatics/btg1023}
}""",
    licence="GENIA Project License for Annotated Corpora; annotation CC BY 3.0",
    homepage="http://www.geniaproject.org/genia-corpus/term-corpus",
)
