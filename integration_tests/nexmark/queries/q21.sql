-- Bids with the number of their channel: of four it is known, of others the page may say it.
-- Room: REGEXP_EXTRACT gives NULL in Flink where nothing matches, and '' in DuckDB: whether it matches is asked apart.
WITH found AS (
    SELECT *, CASE WHEN regexp_matches(url, '(&|^)channel_id=([^&]*)')
        THEN regexp_extract(url, '(&|^)channel_id=([^&]*)', 2) END AS of_page
    FROM bid
)
SELECT auction, bidder, price, channel,
    CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
        ELSE of_page END AS channel_id
FROM found WHERE of_page IS NOT NULL OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
