"""What the data sources of several plugins share: folders, columns, packed arrays, and files out of wheels.

Their functions are imported from the modules; a plugin's dataset is written on top of them.
"""
