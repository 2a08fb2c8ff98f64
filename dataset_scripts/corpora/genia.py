"""GENIA term corpus 3.02: MEDLINE abstracts in one XML file, without official splits.

Its 2,000 abstracts are JNLPBA's training documents: don't train on one and test on the other (`leaks.py` checks).
The hash of the archive is from the sources of nlstruct and pyner. Not yet tested on the real file.
"""

from dataset_scripts.corpus import Archive, Corpus, Files
from dataset_scripts.formats.genia import read_genia_xml
from dataset_scripts.splits import WHOLE


_URL = "https://www.nactem.ac.uk/GENIA/current/GENIA-corpus/Term/GENIAcorpus3.02.tgz"
# As in JNLPBA: the subclasses of protein, DNA and RNA are merged, all other classes are dropped and counted.
_TYPES = {"protein_*": "Protein", "DNA_*": "DNA", "RNA_*": "RNA", "cell_type": "CellType", "cell_line": "CellLine"}

CORPUS = Corpus(
    name="genia",
    title="GENIA 3.02",
    folder="genia",
    type_map=_TYPES,
    files={WHOLE: Files(read_genia_xml, ("GENIAcorpus3.02.xml",), ("GENIA_term_3.02", ""))},
    archives=(Archive(_URL, sha256="85b2aede313308c33783ba508d054d0af0ff9c7e48490f0db5168a9f88d74d1c"),),
    id_space="medline",
    numbered=True,
    expected={WHOLE: (2000,)},
    citation="""@article{kim2003genia,
  title   = {{GENIA} corpus---a semantically annotated corpus for bio-textmining},
  author  = {Kim, Jin-Dong and Ohta, Tomoko and Tateisi, Yuka and Tsujii, Jun'ichi},
  journal = {Bioinformatics}, volume = {19}, number = {suppl 1}, pages = {i180--i182}, year = {2003},
  doi     = {10.1093/bioinformatics/btg1023}
}""",
    licence="GENIA Project License for Annotated Corpora; annotation CC BY 3.0",
    homepage="http://www.geniaproject.org/genia-corpus/term-corpus",
)
