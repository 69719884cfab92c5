"""One entry in every format of feeds, as their specifications write it."""

from __future__ import annotations

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
ITEM = """<item><title>One &amp; two</title><link>https://example.org/1</link>
<description>&lt;p&gt;Short&lt;/p&gt;</description>{more}</item>"""
RSS_MORE = """<guid isPermaLink="false">tag-1</guid><author>ann@example.org</author>
<pubDate>Mon, 02 Feb 2026 10:00:00 +0100</pubDate><category>sea</category><category>wind</category>
<enclosure url="/1.mp3" type="audio/mpeg" length="99"/><comments>https://example.org/1/c</comments>
"""
CHANNEL = "<title>Harbour news</title><link>https://example.org/</link><language>en</language>"
ATOM = """<feed xmlns="{space}" {version}><title>Harbour news</title>
<link href="https://example.org/"/><entry><id>tag-1</id><title>One &amp; two</title>
<link href="https://example.org/1"/><author><name>Ann</name></author>
<{published}>2026-02-02T10:00:00+01:00</{published}><{updated}>2026-02-03T10:00:00Z</{updated}>
<summary>Short</summary><content type="html">&lt;b&gt;All&lt;/b&gt;</content>
<category term="sea" label="The sea"/></entry></feed>"""


def rss(*items: str, version: str = "2.0") -> str:
    """Return a feed with some items; of the version alone if none are given."""
    inner = "".join(items) or ITEM.format(more=RSS_MORE)
    return f'<rss version="{version}"><channel>{CHANNEL}{inner}</channel></rss>'


FEEDS = {
    "rss090": f'<rdf:RDF {RDF} xmlns="http://my.netscape.com/rdf/simple/0.9/"><channel>{CHANNEL}'
    f"</channel>{ITEM.format(more='')}</rdf:RDF>",
    "rss091n": '<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" '
    '"http://my.netscape.com/publish/formats/rss-0.91.dtd">'
    + rss(ITEM.format(more=""), version="0.91"),
    "rss091u": rss(ITEM.format(more=""), version="0.91"),
    "rss092": rss(ITEM.format(more=""), version="0.92"),
    "rss093": rss(ITEM.format(more=""), version="0.93"),
    "rss094": rss(ITEM.format(more=""), version="0.94"),
    "rss10": f'<rdf:RDF {RDF} xmlns="http://purl.org/rss/1.0/"><channel>{CHANNEL}</channel>'
    f"{ITEM.format(more='')}</rdf:RDF>",
    "rss20": rss(),
    "atom03": ATOM.format(
        space="http://purl.org/atom/ns#",
        version='version="0.3"',
        published="issued",
        updated="modified",
    ),
    "atom10": ATOM.format(
        space="http://www.w3.org/2005/Atom", version="", published="published", updated="updated"
    ),
    "cdf": '<channel href="https://example.org/"><title>Harbour news</title>'
    '<item href="https://example.org/1"><title>One &amp; two</title>'
    "<abstract>Short</abstract></item></channel>",
}
"""By the name of the format, each with one entry."""
