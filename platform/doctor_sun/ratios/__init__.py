"""The search for the ratio of medical to general data: finished runs in, what they say out.

`results` reads runs, `surface` fits them, `propose` names the next one, `report` writes the page.
"""
