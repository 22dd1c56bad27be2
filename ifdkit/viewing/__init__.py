"""`ifdkit view`: a local browser for every row of a dataset, scores file or comparison folder.

sources ─ chunks ─▶ table, texts ─ query ─▶ positions, bins ─ server ─▶ page in assets/

sources     the paths that are viewed: numbers, own columns and texts, chunk by chunk
folders     which folders of ifdkit have no rows, and what to open instead
table       columns in memory, which grow while the files are read
texts       texts in Arrow files of a temporary folder, mapped into memory
words       which words occur in which texts: full-text search
query       filters, order and bins, all cached
checks      text checks of every row, made in the background
tokens      the NLLs of the tokens of one row, from the scores file or the store
embedded    the stored embeddings: topics, the map, nearest rows
maps        the map as the page draws it
export      the rows and their map as a file for embedding-atlas
details     one row, opened
diff        which words changed
marks       rows that the user starred or dropped
security    who may ask the server, and what a page may do
server      the requests of the page
run         start, and end with Ctrl-C
"""
