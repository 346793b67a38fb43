"""The extended libvirt domain XML: a site's template with `vb*` tags.

::

    tags       the tags as one table: places, attributes, allowed values
    xml        the hardened parser, and edits in place
    read       a document against the table: typed values, each with its line
    model      what a template says, as plain data
    parse      from a file to a `Template`
    values     what a plan puts in
    machine disks network devices identity    the steps of rendering
    render     from `Template` and values to the XML that libvirt gets
    reference  docs/tags.md, from the tables of tags and steps
"""
