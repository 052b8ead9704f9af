"""The apps of Counterpoint: a task with a face, one folder an app."""
