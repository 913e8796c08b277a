//! Days and times, for people.

/// A day and time in UTC (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub(crate) fn in_words(time: u64) -> String {
    let days = time / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", time / 3600 % 24, time / 60 % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::in_words(0), "1970-01-01 00:00");
        assert_eq!(super::in_words(951_782_399), "2000-02-28 23:59");
        assert_eq!(super::in_words(1_709_210_096), "2024-02-29 12:34");
    }
}
