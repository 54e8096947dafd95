from . import changes as changes
