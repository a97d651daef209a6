"""Transfer learning for NLP, a course that runs: the implementations its notebooks import.

Importing this package is light; the heavy libraries are imported by the modules that use them.
"""

__version__ = "0.1.0"
