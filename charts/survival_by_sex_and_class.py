"""Share of survivors, in percent. Mage sets `df_1`, the output of the block that the chart is of."""

percent = 100 * df_1.groupby(["sex", "pclass"])["survived"].mean().round(3)
x, y = [f"{sex}, class {pclass}" for sex, pclass in percent.index], percent
