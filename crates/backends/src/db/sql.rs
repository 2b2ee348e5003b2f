//! One way to say a statement to either database: its text, its values, and how its rows are read.

use std::borrow::Cow;

use futures_util::TryStreamExt;
use kernel::Result;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, Decode, Either, Executor, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Type};

use super::{On, fault};

/// What a placeholder stands for.
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<Cow<'a, str>>),
}

impl<'a> From<&'a Value<'static>> for Value<'a> {
    fn from(given: &'a Value<'static>) -> Self {
        match given {
            Value::Int(value) => Self::Int(*value),
            Value::Text(text) => Self::Text(text.as_deref().map(Into::into)),
        }
    }
}

macro_rules! values {
    ($($type:ty: $given:ident => $value:expr;)*) => {
        $(impl<'a> From<$type> for Value<'a> { fn from($given: $type) -> Self { $value } })*
    };
}

values! {
    i64: given => Self::Int(Some(given));
    Option<i64>: given => Self::Int(given);
    &'a i64: given => Self::Int(Some(*given));
    &'a str: given => Self::Text(Some(given.into()));
    &'a String: given => Self::Text(Some(given.as_str().into()));
    String: given => Self::Text(Some(given.into()));
    Option<&'a str>: given => Self::Text(given.map(Into::into));
    Option<String>: given => Self::Text(given.map(Into::into));
    &'a Option<String>: given => Self::Text(given.as_deref().map(Into::into));
}

impl Value<'_> {
    fn add_to<A: Arguments>(self, to: &mut A) -> sqlx::Result<()>
    where
        i64: for<'q> sqlx::Encode<'q, A::Database> + Type<A::Database>,
        Option<i64>: for<'q> sqlx::Encode<'q, A::Database>,
        String: for<'q> sqlx::Encode<'q, A::Database> + Type<A::Database>,
        for<'t> &'t str: sqlx::Encode<'t, A::Database> + Type<A::Database>,
        Option<String>: for<'q> sqlx::Encode<'q, A::Database>,
    {
        match self {
            Self::Int(value) => to.add(value),
            Self::Text(None) => to.add(None::<String>),
            Self::Text(Some(Cow::Borrowed(text))) => to.add(text),
            Self::Text(Some(Cow::Owned(text))) => to.add(text),
        }
        .map_err(sqlx::Error::Encode)
    }
}

/// A statement with its values. Whatever it answers is read before it returns: limits are in the texts.
#[must_use = "a statement does nothing until it is run"]
pub(crate) struct Statement<'a> {
    text: SqlStr,
    values: Vec<Value<'a>>,
}

/// A statement of this text.
pub(crate) fn sql<'a>(text: impl SqlSafeStr) -> Statement<'a> {
    Statement { text: text.into_sql_str(), values: Vec::new() }
}

/// What a statement did.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    pub(super) affected: u64,
}

impl<'a> Statement<'a> {
    /// Gives the next placeholder its value.
    pub(crate) fn bind(mut self, value: impl Into<Value<'a>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Every row.
    pub(crate) async fn rows(self, on: impl Into<On<'_>>) -> Result<Vec<Row>> {
        Ok(on.into().answer(self).await?.rows)
    }

    /// Every row, read.
    pub(crate) async fn all<T: FromRow>(self, on: impl Into<On<'_>>) -> Result<Vec<T>> {
        self.rows(on).await?.iter().map(T::from_row).collect()
    }

    /// The first row, if there is one, read.
    pub(crate) async fn maybe<T: FromRow>(self, on: impl Into<On<'_>>) -> Result<Option<T>> {
        self.rows(on).await?.first().map(T::from_row).transpose()
    }

    /// The row that there always is, read.
    pub(crate) async fn one<T: FromRow>(self, on: impl Into<On<'_>>) -> Result<T> {
        self.maybe(on).await?.ok_or_else(|| fault(sqlx::Error::RowNotFound))
    }

    /// How many rows it changed.
    pub(crate) async fn run(self, on: impl Into<On<'_>>) -> Result<u64> {
        Ok(on.into().answer(self).await?.affected)
    }

    pub(super) async fn on_sqlite(self, connection: &mut SqliteConnection) -> sqlx::Result<Answer> {
        let mut values = SqliteArguments::default();
        self.values.into_iter().try_for_each(|value| value.add_to(&mut values))?;
        let mut stream = connection.fetch_many(sqlx::query_with(self.text, values));
        let mut answer = Answer::default();
        while let Some(next) = stream.try_next().await? {
            match next {
                Either::Left(done) => answer.affected += done.rows_affected(),
                Either::Right(row) => answer.rows.push(Row::Sqlite(row)),
            }
        }
        Ok(answer)
    }

    pub(super) async fn on_postgres(self, connection: &mut PgConnection) -> sqlx::Result<Answer> {
        let mut values = PgArguments::default();
        self.values.into_iter().try_for_each(|value| value.add_to(&mut values))?;
        let mut stream = connection.fetch_many(sqlx::query_with(self.text, values));
        let mut answer = Answer::default();
        while let Some(next) = stream.try_next().await? {
            match next {
                Either::Left(done) => answer.affected += done.rows_affected(),
                Either::Right(row) => answer.rows.push(Row::Postgres(row)),
            }
        }
        Ok(answer)
    }
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column is read as.
pub(crate) trait Column<'r>: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres> {}

impl<'r, T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>> Column<'r> for T {}

impl Row {
    /// The column in this place; texts may be borrowed.
    pub(crate) fn get<'r, T: Column<'r>>(&'r self, place: usize) -> Result<T> {
        match self {
            Self::Sqlite(row) => row.try_get(place),
            Self::Postgres(row) => row.try_get(place),
        }
        .map_err(fault)
    }
}

/// What a whole row is read as.
pub(crate) trait FromRow: Sized {
    /// Reads the row.
    fn from_row(row: &Row) -> Result<Self>;
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+))*) => {
        $(impl<$($name: for<'r> Column<'r>),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row) -> Result<Self> {
                Ok(($(row.get::<$name>($place)?,)+))
            }
        })*
    };
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
}
