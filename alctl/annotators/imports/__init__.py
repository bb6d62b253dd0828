"""An import of labels (`import-labels`, `pull`), one step a file, in the order of `import_labels.import_labels`.

1. `recognise`: which format the file has, how it is read, and whether it was imported before;
2. `check`: is each answer what the project's task asks for, with classes of the class list;
3. `match_items`: which image of the pool each answer is about;
4. `fit_shapes`: shapes in the pixels of their images, and one answer of each annotator to each image;
5. `problems`: a sentence for each answer that is refused;
6. `class_list`: the new classes that answers without problems have;
7. `store`: the answers into the history of labels, the refused ones into a table beside the file.

`undo` takes an import back. Nothing here imports a file of another folder of `annotators` but `untouched_files`.
"""
