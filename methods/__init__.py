"""Methods of unsupervised domain adaptation; knows nothing of files, data sets, clocks, tables."""
