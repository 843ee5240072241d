-- Grain: one row per passenger. Key: passenger_id.
-- The two sides have no column in common, so every passenger is joined with every company of the last good ingestion.
-- The joined rows are counted here, in the database: there are millions of them with some thousand companies.
-- Age and fare arrive as text, exactly as in the source, and get their type here.
SELECT
    passengers.passenger_id,
    passengers.survived,
    passengers.pclass,
    passengers._name,
    passengers.sex,
    CAST(passengers.age AS DOUBLE) AS age,
    passengers.sibsp,
    passengers.parch,
    passengers.ticket,
    CAST(passengers.fare AS DOUBLE) AS fare,
    passengers.cabin,
    passengers.embarked,
    COUNT(*) AS company_count,
    CAST(SUM(companies.employeeCount) AS BIGINT) AS company_employee_count
FROM {{ df_1 }} AS passengers
CROSS JOIN raw_companies AS companies
GROUP BY ALL
ORDER BY passengers.passenger_id
