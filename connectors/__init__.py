"""One file (or folder) a venue: its facts and how it speaks.  README.md says how to add one."""
