"""What the tests of the formats share: files written by hand, and what was read of them in words."""

import pytest
from hypothesis import HealthCheck, settings

from dataset_scripts.schema import CorpusError, RawDocument


FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def describe(raw: RawDocument) -> tuple[str, ...]:
    """The id and text of a document, and each mention as `LINE:START-END[,START-END] TYPE TEXT`."""
    mentions = []
    for m in raw.mentions:
        offsets = ",".join(f"{start}-{end}" for start, end in m.spans)
        mentions.append(f"{m.where.rpartition(':')[2]}:{offsets} {m.type} {m.cut(raw.text)}")
    return raw.document_id, raw.text, *mentions


def error_of(reader, *paths) -> str:
    with pytest.raises(CorpusError) as error:
        list(reader(*paths))
    return str(error.value)


BC2GM = {
    "test.in": "BC2GM01 The p53  gene (TP53).\nP00001606A0076a No gene\u00a0here.\n",
    "GENE.eval": "BC2GM01|3 9|p53  gene\nBC2GM01|11 14|TP53\n",
    "ALTGENE.eval": "BC2GM01|3 5|p53\n",
    "test.idmap": "P00000042T0001 BC2GM01\n",
}
GENIA = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE set SYSTEM "http://localhost:9/gpml.dtd">
<set><import resource="GENIAontology.daml" prefix="G"></import>
<article><articleinfo>
<bibliomisc>MEDLINE:95369245</bibliomisc>
</articleinfo><title>
<sentence><cons lex="IL-2_gene_expression" sem=" G#other_name
"><cons lex="IL-2_gene" sem="G#DNA_domain_or_region">IL-2 gene</cons> expression</cons> &amp; <cons
sem="">it</cons>.</sentence></title>
<abstract>
<sentence><cons lex="(AND CD2*_*receptor CD25*_*receptor)" sem="(AND G#protein_molecule
   G#protein_molecule)"><cons lex="CD2*">CD2</cons> and <cons lex="CD25*">CD25</cons> <cons lex="*receptor">
   receptors</cons></cons> bind.</sentence>
<sentence>  <cons sem="G#cell_type"> T cells </cons>grow\u2028\U0001f9ec. </sentence>
</abstract></article>
<article><articleinfo><bibliomisc>MEDLIN:82055447</bibliomisc></articleinfo>
<title>A <cons sem="H#thing">bare</cons> title</title><abstract>loose <sentence>One.</sentence></abstract></article>
<article><title><sentence>None<cons sem="G#x"/></sentence></title><abstract/></article></set>
"""
BIOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>hand</source><date/><key/>
<document><id> 11 </id><infon key="type">x</infon>
<passage><infon key="type">title</infon><offset>0</offset><text>Gout &lt; 3</text>
<annotation id="1"><infon key="MESH">D1</infon><infon key="type">Disease</infon><location offset="0" length="4"/>
<text>Gout</text></annotation></passage>
<passage><offset>9</offset><text> </text><sentence><offset>9</offset><text>One and two.</text>
<annotation id="2"><infon key="type">Number</infon><location offset="9" length="3"/><location offset="17" length="3"/>
<text>One two</text></annotation></sentence>
<sentence><offset>23</offset><text>End\u2028.</text></sentence></passage>
<passage><offset>28</offset></passage>
<relation id="r"><infon key="type">CID</infon><node refid="1" role="x"/></relation></document>
<document><id>12</id><passage><offset>2</offset><text>x</text></passage></document></collection>
"""
