"""Mean yearly salary, in US dollars, by fact. Mage sets `df_1`, the output of the block that the chart is of."""

x, y = df_1["fact"].fillna("no fact").str.slice(stop=40), df_1["mean_salary_usd"].fillna(0)
