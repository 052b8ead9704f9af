"""How good is a representation: evaluators that take arrays, never models.

========================  =============================================================================
`evaluation.knn`          weighted k-nearest-neighbour classification, exact search
`evaluation.linear`       logistic regression on frozen features
`evaluation.fewshot`      k-shot probes, label fractions, episodes with prototypes
`evaluation.retrieval`    Recall@K, average precision, R-precision, MRR; view retrieval without labels
`evaluation.cross_modal`  Recall@K between two modalities, both ways, with several right answers
`evaluation.ranking`      full ranking for recommendation: Recall, NDCG, Precision, hit rate @K
`evaluation.popularity`   the long tail of a ranking: groups, coverage, novelty, Gini
`evaluation.two_space`    probes of each factor from a common and a salient space, distance from the ideal
`evaluation.clustering`   k-means against labels: NMI, ARI; how tight classes are
`evaluation.regression`   errors and correlations of predicted numbers; least absolute error on frozen features
`evaluation.geometry`     alignment, uniformity, RankMe, LiDAR, anisotropy, std, modality gap
`evaluation.baselines`    raw input, principal components
`evaluation.stats`        accuracies, confidence intervals, paired differences
`evaluation.suite`        all of it in one call, under one protocol
`evaluation.table`        results side by side: shell, Markdown, JSON
========================  =============================================================================

Import from the modules: the monitors of training need no scikit-learn and do not wait for it.
"""
