//! Users out of CSV files and Kamailio's `subscriber` table.
