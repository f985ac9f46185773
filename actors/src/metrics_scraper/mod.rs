//! metrics_scraper
