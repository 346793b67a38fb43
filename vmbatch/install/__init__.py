"""Setting a machine up: packages, interpreters, daemons, and the files of an installation.

Everything here runs under the system's own Python, before there is a virtual environment: the
standard library and the modules of the vocabulary are all that it imports.
"""
