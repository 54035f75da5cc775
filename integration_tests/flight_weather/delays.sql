-- What examples/flight_weather comes to, over the tables `flights` and `weather`: the files of examples/data as they are, NA as NULL.
-- The day is that of the file's own columns, in New York's time; where no weather is known for an hour, its classes are 'unknown'.
SELECT
  strftime(make_date(f.year, f.month, f.day), '%Y-%m-%d') AS day,
  f.origin AS airport,
  CASE WHEN w.wind_speed IS NULL THEN 'unknown' WHEN w.wind_speed < 8 THEN 'calm' WHEN w.wind_speed < 18 THEN 'fresh' ELSE 'strong' END AS wind,
  CASE WHEN w.visib IS NULL THEN 'unknown' WHEN w.visib < 3 THEN 'poor' WHEN w.visib < 10 THEN 'fair' ELSE 'good' END AS visibility,
  count(*) AS flights,
  count(*) FILTER (f.dep_time IS NULL) AS cancelled,
  coalesce(sum(f.dep_delay), 0)::BIGINT AS dep_delay_sum,
  max(f.dep_delay) AS dep_delay_max
FROM flights f LEFT JOIN weather w ON w.origin = f.origin AND w.time_hour = f.time_hour
GROUP BY 1, 2, 3, 4
