-- Grain: one row per passenger and company of the last good ingestion.
-- Key: (passenger_id, company_id). The two sides have no column in common, so every pair is a row.
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
    companies.id AS company_id,
    companies.name AS company_name,
    companies.industry AS company_industry,
    companies.country AS company_country,
    companies.employeeCount AS company_employee_count,
    companies.marketCap AS company_market_cap
FROM {{ df_1 }} AS passengers
CROSS JOIN raw_companies AS companies
