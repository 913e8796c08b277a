//! Days and times, for people.

/// A day and time in UTC (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub(crate) fn in_words(time: impl Into<i128>) -> String {
    let time = time.into();
    let days = time.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", time.rem_euclid(86_400) / 3600, time.rem_euclid(3600) / 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::in_words(i64::MIN), "-292277022657-01-27 08:29");
        assert_eq!(super::in_words(-1), "1969-12-31 23:59");
        assert_eq!(super::in_words(0_u64), "1970-01-01 00:00");
        assert_eq!(super::in_words(951_782_399), "2000-02-28 23:59");
        assert_eq!(super::in_words(1_709_210_096), "2024-02-29 12:34");
    }
}
