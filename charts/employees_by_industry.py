"""Employees of all companies of an industry. Mage sets `df_1`, the output of the block that the chart is of."""

employees = df_1.groupby("industry")["employeeCount"].sum().sort_values(ascending=False)
x, y = employees.index, employees
