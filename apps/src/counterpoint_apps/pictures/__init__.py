"""What the apps that search pictures share: an index of a folder or a data set, kept up to date, searched, shown."""
